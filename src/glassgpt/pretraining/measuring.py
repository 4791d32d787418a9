"""The loss of a finished run on all of its own text, or on all of another text."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glassgpt.commands import command
from glassgpt.dataset.shards import TokenSplit
from glassgpt.errors import CorpusError, EvaluationError, OfflineError, RunError
from glassgpt.evaluation.loss import Evaluation, refuse_no_figure
from glassgpt.pretraining.data import PreparedData, held_in, prepare_data, prepare_whole, refuse_other_data
from glassgpt.pretraining.places import find_text
from glassgpt.pretraining.run import measure_split
from glassgpt.runs.opening import Run


@dataclass(frozen=True)
class Measurement:
    """A loss, and the text that it was measured on, in words."""

    text: str
    result: Evaluation

    def to_dict(self) -> dict[str, Any]:
        """Return the figures under the names that `glassgpt eval --json` gives them."""
        result = self.result
        return {
            "text": self.text,
            "loss": result.loss,
            "perplexity": result.perplexity,
            "bits_per_byte": result.bits_per_byte,
            "tokens": result.tokens,
            "unknown": result.unknown,
        }


def why_no_text(run: Run) -> str | None:
    """Return why a run has no text of its own to measure on, as a sentence; None for a run that has one."""
    name, lineage = run.directory.name, run.lineage
    if lineage.is_imported or lineage.data is None:
        return f"{name} has no text of its own: it was imported."
    if lineage.base is not None:
        return f"{name} has no text of its own: it was fine-tuned ({lineage.kind}) from {lineage.base.name}."
    return None


def own_text(run: Run, moved: Sequence[str] = ()) -> PreparedData:
    """Prepare the text that a run was trained on; `moved` says where it is now.

    Raises `EvaluationError` for a run that has no text, and for a text that is gone or has changed.
    """
    missing = why_no_text(run)
    if missing is not None:
        raise EvaluationError(missing)
    try:
        data = prepare_data(find_text(run.directory, run.config, moved, ask="eval"))
    except (CorpusError, OfflineError, RunError) as error:
        raise EvaluationError(str(error)) from error
    try:
        refuse_other_data(run.directory, data)
    except RunError as error:
        raise EvaluationError(
            f"The text of {run.directory.name} (or how it is prepared) has changed since the run began, so what it "
            "learned from and what was held out are not known any more. Put the original text back, or name a text to "
            f"measure the loss on:  {_on_a_text(run)}"
        ) from error
    return data


def _on_a_text(run: Run) -> str:
    return command("eval", run.directory.handle, "TEXT")


def measure_own(run: Run, split: str = "validation", moved: Sequence[str] = ()) -> Measurement:
    """Measure a run on the whole of a split of its own text. Raises as `own_text`, and where there is no figure."""
    missing = why_no_text(run)
    if missing is not None:
        raise EvaluationError(f"{missing} Name a text to measure its loss on:  {_on_a_text(run)}")
    tokens = held_in(own_text(run, moved), split)
    return _measured(run, tokens, f"its {split} text")


def measure_sources(run: Run, sources: Sequence[str], text_field: str | None = None) -> Measurement:
    """Measure a run on all text of some sources. Raises `CorpusError` and what `refuse_no_figure` raises."""
    own = run.config.corpus
    corpus = dataclasses.replace(
        own, sources=tuple(sources), text_field=own.text_field if text_field is None else text_field
    )
    tokens = prepare_whole(dataclasses.replace(run.config, corpus=corpus), run.directory.tokenizer)
    if run.config.training.order == "documents":
        # Each document is measured after the end of another one, so the first one needs that, too.
        tokens = tokens.after(run.tokenizer.end_of_text)
    return _measured(run, tokens, ", ".join(sources))


def _measured(run: Run, tokens: TokenSplit, text: str) -> Measurement:
    config = run.config
    if len(tokens.places_of(run.tokenizer.end_of_text)) < 2:
        # Whole documents are measured after the end of another one. A single one is measured in plain windows.
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, order="random"))
    result = measure_split(run.model, run.tokenizer, config, tokens, max_tokens=sys.maxsize)
    refuse_no_figure(result, run.tokenizer.kind, text)
    return Measurement(text, result)
