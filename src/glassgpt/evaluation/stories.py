"""Scores stories by the grammar behind the training text: are they valid, and are they new?

A low loss can come from memorising the training text. For the built-in stories both questions have an exact answer: a
parser decides whether a story follows the grammar, and the training stories can be generated again from their seed to
check whether it is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from glassgpt.corpus.builtin import parse_tinytales
from glassgpt.corpus.tinytales.score import StoryScore, StorySet, score, training_texts
from glassgpt.errors import EvaluationError
from glassgpt.generation.engines import steady_for
from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.opening import Run


def story_source(sources: Sequence[str]) -> tuple[int, int] | None:
    """Return (count, seed) when the only source is `builtin:tinytales[:count[:seed]]`, else None."""
    if len(sources) != 1 or not sources[0].startswith("builtin:tinytales"):
        return None
    return parse_tinytales(sources[0])


def score_run(run: Run, *, count: int, seed: int = 0) -> tuple[list[str], StoryScore]:
    """Let a run write `count` stories without a prompt; return them and their score.

    Raises `EvaluationError` for an imported run: the length of its stories is not known.
    """
    source = story_source(run.config.corpus.sources)
    told = training_texts(*source) if source else StorySet()
    if run.lineage.data is None:
        raise EvaluationError(f"{run.directory.name} cannot be asked for stories: it was imported.")
    facts = run.lineage.data.splits["train"]
    usual = facts.tokens // max(1, facts.documents)  # a story more than twice as long has gone wrong
    settings = GenerationConfig(temperature=0.8, max_tokens=2 * usual, seed=seed)
    written = run.complete("", settings, count=count, engine=steady_for(count * settings.max_tokens))
    return written, score((story.strip() for story in written), told)
