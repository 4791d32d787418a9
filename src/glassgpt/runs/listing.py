"""Many runs at a glance: which ones are meant, in which order, what differs between them, and which is the best."""

from __future__ import annotations

import csv
import fnmatch
import io
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

from glassgpt.errors import RunError, did_you_mean
from glassgpt.runs.directory import RunDirectory, find_run, list_runs, normal, runs_folder
from glassgpt.runs.summary import RunSummary

Order = Literal["date", "name", "loss", "time", "size"]
KEYS: dict[str, Callable[[RunSummary], Any]] = {
    "date": lambda run: (run.changed, run.name),
    "name": lambda run: run.name,
    "loss": lambda run: (run.best_loss is None, run.best_loss, run.name),
    "time": lambda run: (run.seconds, run.name),
    "size": lambda run: (run.size, run.name),
}
FIRST = (
    "kind",
    "training.learning_rate",
    "training.matrix_learning_rate",
    "training.seed",
    "model.n_layer",
    "model.n_embd",
    "training.batch_size",
    "model.context_length",
    "tokenizer.vocab_size",
    "tokenizer.kind",
    "training.optimizer",
)
"""Settings that are shown first where they differ."""
ELSEWHERE = ("training.steps", "model.vocab_size", "tokenizer.name", "base", "data")
"""Settings that another column shows, or that are only where something was."""


def matching(patterns: Sequence[str]) -> list[RunDirectory]:
    """Return the runs of some names, paths and patterns such as `tale-*`, each once; all runs for no pattern.

    Raises `RunError` for a pattern that matches none.
    """
    if not patterns:
        return list_runs()
    known: list[RunDirectory] | None = None
    found: dict[str, RunDirectory] = {}
    for pattern in patterns:
        if not any(sign in pattern for sign in "*?[") or _is_run(pattern):
            runs = [find_run(pattern)]
        else:
            known = list_runs() if known is None else known
            runs = [run for run in known if fnmatch.fnmatchcase(run.path.name, normal(pattern))]
        if not runs:
            hint = did_you_mean(pattern, [run.name for run in known or ()], most=1)
            raise RunError(
                f"No run in {runs_folder()} matches {pattern!r}.{hint} `glassgpt runs` lists the runs."
            )
        found |= {str(run.path.resolve()): run for run in runs}
    return list(found.values())


def _is_run(name: str) -> bool:
    try:
        find_run(name)
    except RunError:
        return False
    return True


def differing(summaries: Sequence[RunSummary]) -> list[str]:
    """Return the settings that are not equal in all runs, the most telling ones first."""
    names = dict.fromkeys(name for summary in summaries for name in summary.settings)
    found = [
        name
        for name in names
        if name not in ELSEWHERE
        and len({_comparable(summary.settings.get(name)) for summary in summaries if summary.settings}) > 1
    ]
    return sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def _comparable(value: Any) -> str:
    """Return a value as text: 1 and 1.0 are equal, lists of unequal types have no order."""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else repr(value)


def best_of(summaries: Sequence[RunSummary]) -> set[str]:
    """Return the name of the run with the fewest bits per byte on each text that several runs share.

    Bits per byte of different texts, or of text and answers, are not comparable.
    """
    groups: dict[tuple[str, ...], list[RunSummary]] = {}
    for summary in summaries:
        if summary.bits_per_byte is not None and summary.text:
            groups.setdefault((summary.kind, *sorted(summary.text)), []).append(summary)
    return {
        min(group, key=lambda summary: summary.bits_per_byte or 0.0).name
        for group in groups.values()
        if len(group) > 1
    }


def short_names(settings: Collection[str]) -> dict[str, str]:
    """Return the last part of each setting's name, or the whole name where two would be equal."""
    last = [name.rpartition(".")[2] for name in settings]
    return {
        name: short if last.count(short) == 1 else name for name, short in zip(settings, last, strict=True)
    }


def facts(summary: RunSummary, settings: Sequence[str], best: Collection[str]) -> dict[str, Any]:
    """Return a summary as plain values for other programs, with the `settings` named; None where nothing is known."""
    return {
        "name": summary.name,
        "kind": summary.kind or None,
        "state": summary.state,
        "best": summary.name in best,
        "parameters": summary.parameters,
        "step": summary.step,
        "steps": summary.steps,
        "loss": summary.best_loss,
        "bits_per_byte": summary.bits_per_byte,
        "tokens": summary.tokens,
        "seconds": summary.seconds,
        "bytes": summary.size,
        "changed": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(summary.changed)),
        "note": summary.note,
        **{name: summary.settings.get(name) for name in settings},
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows with equal keys as CSV with a heading; a list is one cell, its items separated by spaces."""
    page = io.StringIO()
    writer = csv.writer(page, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            [
                " ".join(map(str, value)) if isinstance(value, list | tuple) else value
                for value in row.values()
            ]
        )
    return page.getvalue()
