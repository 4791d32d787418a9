"""The probes by name, and a function that runs them on one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from glassgpt.errors import EvaluationError, GenerationError
from glassgpt.evaluation.grammar import grammar
from glassgpt.evaluation.induction import induction
from glassgpt.evaluation.memorisation import memorisation
from glassgpt.evaluation.recall import recall
from glassgpt.evaluation.score import Score, Subject, share_of
from glassgpt.evaluation.stories import score_run, story_source
from glassgpt.registry import Registry


def tinytales(subject: Subject) -> Score:
    """Let the run write stories, and return the share that follow the built-in grammar and are new.

    Raises `EvaluationError` where the run was not trained only on the built-in stories.
    """
    run = subject.run
    if story_source(run.config.corpus.sources) is None or not run.lineage.data:
        raise EvaluationError(
            "`tinytales` judges stories by the built-in grammar, and this run was trained on other text."
        )
    _, score = score_run(run, count=subject.samples, seed=subject.seed)
    new = [True] * score.new + [False] * (score.total - score.new)
    value, error = share_of(new)
    details = {"valid": score.valid_share, "valid beginning": score.mean_valid_prefix}
    return Score("tinytales", "stories valid and new", value, 0.0, error, score.total, details)


@dataclass(frozen=True, slots=True)
class Probe:
    """One way to ask a run. `glassgpt.probes` is the entry point of those from elsewhere (see docs/extending.md)."""

    ask: Callable[[Subject], Score]
    """Raises `EvaluationError` where it cannot be asked of a run."""
    writes: bool = False
    """Whether it judges what the run writes, so that the number of samples counts."""
    draws: bool = False
    """Whether what it asks is drawn at random, so that the seed counts."""


PROBES = Registry(
    "probes",
    Probe,
    {
        "grammar": Probe(grammar),
        "induction": Probe(induction, draws=True),
        "recall": Probe(recall),
        "memorisation": Probe(memorisation, writes=True, draws=True),
        "tinytales": Probe(tinytales, writes=True, draws=True),
    },
)


def ask_all(subject: Subject, names: Sequence[str] = ()) -> Iterator[Score | str]:
    """Yield the score of each named probe. Without names: every probe's score, or why it cannot run here.

    A named probe that cannot run raises `EvaluationError`.
    """
    for name in names or PROBES:
        try:
            yield PROBES[name].ask(subject)
        except (EvaluationError, GenerationError) as error:
            if names:
                raise
            yield f"{name}: {error}"
