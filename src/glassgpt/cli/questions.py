"""The probes and lm-eval tasks that `glassgpt eval` asks: which ones, with what settings, and how they are shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from glassgpt.cli.options import names_in
from glassgpt.idle import OnlyWith

if TYPE_CHECKING:
    from glassgpt.evaluation.harness import Tasks
    from glassgpt.evaluation.score import Score, Texts
    from glassgpt.runs.opening import Run

ALL = "all"
MOST_SAMPLES = 100_000
ONLY_WITH = (
    OnlyWith(
        ("include", "limit", "few_shots"),
        "tasks",
        test=lambda said: said["asks_tasks"],
        use="TASK of lm-eval",
    ),
    OnlyWith(("samples",), "tasks", test=lambda said: said["writes"], use="memorisation or tinytales"),
    OnlyWith(
        ("seed",),
        "tasks",
        test=lambda said: said["draws"] or said["asks_tasks"] or said["stories"],
        use="induction, memorisation, tinytales or TASK of lm-eval",
    ),
)


@dataclass(frozen=True)
class Questions:
    """What a run is asked, beside its loss."""

    named: tuple[str, ...]
    """What --tasks names."""
    probes: tuple[str, ...]
    """Probes by name; one that cannot be asked is an error."""
    every_probe: bool
    """Whether all probes are asked; one that cannot be asked is left out."""
    tasks: tuple[str, ...]
    """lm-eval tasks by name."""
    folder: Path | None
    """A folder with further tasks."""
    every_task: bool
    """Whether all tasks of the folder are asked."""
    samples: int
    limit: int | None
    few_shots: int | None
    seed: int

    def facts(self) -> dict[str, Any]:
        """Return what decides which settings are read (`ONLY_WITH`)."""
        from glassgpt.evaluation.suite import PROBES

        asked = list(PROBES) if self.every_probe else self.probes
        return {
            "tasks": self.named,
            "asks_tasks": bool(self.tasks) or self.every_task,
            "writes": any(PROBES[name].writes for name in asked),
            "draws": any(PROBES[name].draws for name in asked),
        }

    def refuse_wrong(self) -> None:
        """Raise `EvaluationError` for values that make no sense, before any work is done."""
        from glassgpt.errors import EvaluationError

        if self.samples < 1:
            raise EvaluationError(f"--samples is {self.samples}: the run must write at least 1 text.")
        if self.samples > MOST_SAMPLES:
            raise EvaluationError(
                f"--samples is {self.samples:,}: at most {MOST_SAMPLES:,} texts are kept in memory."
            )
        if self.seed < 0:
            raise EvaluationError(f"--seed is {self.seed}: it must be at least 0.")
        if self.limit is not None and self.limit < 1:
            raise EvaluationError(f"--limit is {self.limit}: a task needs at least 1 question.")
        if self.few_shots is not None and self.few_shots < 0:
            raise EvaluationError(f"--few-shots is {self.few_shots}: it must be at least 0.")

    def load(self) -> Tasks | None:
        """Load the lm-eval tasks, so that a name that is not known is an error before hours of work."""
        from glassgpt.evaluation.harness import load_tasks, local_tasks
        from glassgpt.evaluation.suite import PROBES

        names = local_tasks(self.folder) if self.folder and self.every_task else self.tasks
        return load_tasks(names, include=self.folder, known=[ALL, *PROBES]) if names else None

    def ask(self, run: Run, tasks: Tasks | None, moved: Sequence[str]) -> tuple[list[Score], list[str]]:
        """Return the scores of the probes and of the loaded tasks, and lines about what was left out."""
        from glassgpt.evaluation.harness import ask_tasks
        from glassgpt.evaluation.score import Subject
        from glassgpt.evaluation.suite import ask_all

        subject = Subject(run, lambda: _texts(run, moved), self.seed, self.samples)
        scores: list[Score] = []
        notes: list[str] = []
        if self.probes or self.every_probe:
            for answer in ask_all(subject, () if self.every_probe else self.probes):
                notes.append(f"Left out: {answer}") if isinstance(answer, str) else scores.append(answer)
        if tasks is not None:
            scores += ask_tasks(
                run, tasks, limit=self.limit, few_shots=self.few_shots, seed=self.seed, say=notes.append
            )
        return scores, notes


def questions(
    named: Collection[str],
    *,
    folder: Path | None,
    names_text: bool,
    samples: int,
    limit: int | None,
    few_shots: int | None,
    seed: int,
) -> Questions:
    """Return what is asked where --tasks names `named`: without a name all probes, unless a text is named."""
    from glassgpt.evaluation.suite import PROBES

    names = names_in(named)
    return Questions(
        named=names,
        probes=tuple(name for name in names if name in PROBES and ALL not in names),
        every_probe=ALL in names or not (names or names_text),
        tasks=tuple(name for name in names if name not in PROBES and name != ALL),
        folder=folder,
        every_task=folder is not None and (ALL in names or not names),
        samples=samples,
        limit=limit,
        few_shots=few_shots,
        seed=seed,
    )


def table(scores: Sequence[Score]) -> Table:
    """Return scores and their parts as a table."""
    found = Table(box=None, header_style="bold", pad_edge=False)
    found.add_column("task", no_wrap=True)
    found.add_column("what is measured")
    for name in ("value", "±", "chance", "of"):
        found.add_column(name, justify="right", no_wrap=True)
    for score in scores:
        chance = "" if score.chance is None else f"{score.chance:.3f}"
        error = "" if score.error is None else f"{score.error:.3f}"
        found.add_row(score.name, score.measures, f"{score.value:.3f}", error, chance, f"{score.count:,}")
        for name, value in score.details.items():
            found.add_row("", f"  {name}", _number(value), style="dim")
    return found


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _texts(run: Run, moved: Sequence[str]) -> Texts:
    from glassgpt.evaluation.score import Texts
    from glassgpt.pretraining.measuring import own_text

    data = own_text(run, moved)
    return Texts(data.shards.split("train"), data.shards.split("validation"))
