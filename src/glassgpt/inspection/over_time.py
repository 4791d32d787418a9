"""The same look at a model at each step whose weights were kept: how it came to be what it is.

`glassgpt train --training.keep-every 50` keeps them; without it there are only the last few checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from glassgpt.errors import InspectionError
from glassgpt.model.gpt import GPT
from glassgpt.runs.opening import Run, model_with
from glassgpt.runs.steps import Step, steps_of

Seen = TypeVar("Seen")


def over_time(
    run: Run, look: Callable[[GPT], Seen], *, most: int | None = None
) -> Iterator[tuple[int, Seen]]:
    """Yield each step with what `look` returns for the model of that step, from the first step to the last.

    One model is in memory at a time, beside the run's. `most` limits the number of steps: they are spread evenly, and
    include the first and the last. Raises `InspectionError` where the run has kept no weights.
    """
    for step in chosen_steps(run, most):
        yield step.step, look(model_with(run, step.path))


def chosen_steps(run: Run, most: int | None = None) -> list[Step]:
    """Return the steps that `over_time` looks at."""
    found = steps_of(run.directory)
    if not found:
        raise InspectionError(
            f"{run.directory.name} has no weights of earlier steps. Train a run with --training.keep-every 50, which "
            "keeps them every 50 steps."
        )
    if most is None or len(found) <= most:
        return found
    if most < 2:
        return found[-1:]
    return [found[round(index * (len(found) - 1) / (most - 1))] for index in range(most)]
