"""Says before a fine-tuning that its base does not write sentences yet, so that no time is lost on it."""

from __future__ import annotations

from glassgpt.evaluation.quality_words import SENTENCES, in_words
from glassgpt.evaluation.stories import story_source
from glassgpt.runs.longer import longer
from glassgpt.runs.opening import Run
from glassgpt.runs.summary import summarize

ANSWERING = ("sft", "dpo", "grpo")
"""Kinds that teach a base to answer."""


def weak_base(run: Run, kind: str) -> str | None:
    """Return a sentence on a base that was trained here and is too weak to answer, with the way to a better one."""
    if kind not in ANSWERING or run.lineage.kind != "pretraining" or story_source(run.config.corpus.sources):
        return None
    bits = summarize(run.directory).bits_per_byte
    if bits is None or bits < SENTENCES:
        return None
    again = longer(run.directory)
    better = f" A better base comes first:  {again[1]}" if again else ""
    return (
        f"This base writes at {bits:.1f} bits a byte: {in_words(bits)}. Its answers will be no better; models began to "
        f"write sentences at about {SENTENCES:g}.{better}"
    )
