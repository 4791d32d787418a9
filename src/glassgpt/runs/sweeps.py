"""A sweep: several runs that differ in a few settings, as it is written down beside them, and what came of it.

    runs/NAME.sweep.json

The file holds what was asked for, so that the same command continues the same sweep, and the settings of each run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from glassgpt import files
from glassgpt.errors import RunError, did_you_mean
from glassgpt.runs.directory import runs_folder
from glassgpt.runs.summary import RunSummary

ENDING = ".sweep.json"


class Trial(msgspec.Struct, frozen=True):
    """One run of a sweep: its name, and its values of the settings that differ, the seed last."""

    name: str
    settings: dict[str, Any]


class Sweep(msgspec.Struct, frozen=True):
    """All of a sweep's file. `asked` is the config that was asked for, `base` the one with the plan for `minutes`."""

    name: str
    asked: dict[str, Any]
    base: dict[str, Any]
    minutes: float | None
    trials: list[Trial]


@dataclass(frozen=True)
class Result:
    """A run of a sweep and how far it came, or the reason why it failed."""

    trial: Trial
    summary: RunSummary | None
    failure: str = ""


@dataclass(frozen=True)
class Row:
    """One combination of settings: the loss of each seed, and the reasons of those that failed."""

    settings: dict[str, Any]
    losses: list[float]
    names: list[str]
    failures: list[str]

    @property
    def mean(self) -> float:
        """The mean over the seeds; infinite where none succeeded."""
        return statistics.fmean(self.losses) if self.losses else math.inf

    @property
    def error(self) -> float | None:
        """The standard error of the mean; None for fewer than two seeds."""
        return statistics.stdev(self.losses) / math.sqrt(len(self.losses)) if len(self.losses) > 1 else None

    @property
    def best(self) -> str:
        """The name of its best run."""
        return min(zip(self.losses, self.names, strict=True))[1]


def sweep_file(name: str) -> Path:
    """Return the file of a sweep."""
    return runs_folder() / f"{name}{ENDING}"


def read_sweep(name: str) -> Sweep:
    """Read a sweep's file. Raises `RunError` where there is none, or it is damaged."""
    path = sweep_file(name)
    try:
        return msgspec.convert(files.read_json(path), Sweep)
    except FileNotFoundError:
        known = [path.name.removesuffix(ENDING) for path in runs_folder().glob(f"*{ENDING}")]
        hint = did_you_mean(name, known) or (f" There are: {', '.join(sorted(known))}." if known else "")
        raise RunError(f"There is no sweep called {name!r} in {runs_folder()}.{hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}). Delete it to begin the sweep again.") from error


def write_sweep(sweep: Sweep) -> None:
    """Write a sweep's file."""
    files.write_json(sweep_file(sweep.name), msgspec.to_builtins(sweep))


def rows_of(results: Sequence[Result]) -> tuple[str, list[Row]]:
    """Return what is measured, and each combination with its seeds, best first.

    Measured are bits per byte, which can be compared whatever the vocabulary is, or the loss where a run has none.
    """
    summaries = [result.summary for result in results if result.summary is not None]
    bits = all(summary.bits_per_byte is not None for summary in summaries)
    rows: dict[str, Row] = {}
    for result in results:
        settings = {key: value for key, value in result.trial.settings.items() if key != "training.seed"}
        row = rows.setdefault(repr(settings), Row(settings, [], [], []))
        if result.failure:
            row.failures.append(result.failure)
        elif result.summary is not None:
            loss = result.summary.bits_per_byte if bits else result.summary.best_loss
            if loss is None:
                row.failures.append("it has no validation loss")
            else:
                row.losses.append(loss)
                row.names.append(result.summary.name)
    return "bits/byte" if bits else "loss", sorted(rows.values(), key=lambda row: row.mean)


def effects(rows: Sequence[Row]) -> dict[str, dict[Any, float]]:
    """Return each setting's mean loss by value (its main effect), the setting that matters most first.

    Only runs that succeeded count. A setting with one value left has no effect.
    """
    found: dict[str, dict[Any, float]] = {}
    for setting in rows[0].settings if rows else ():
        by_value: dict[Any, list[float]] = {}
        for row in rows:
            by_value.setdefault(row.settings[setting], []).extend(row.losses)
        means = {value: statistics.fmean(losses) for value, losses in by_value.items() if losses}
        if len(means) > 1:
            found[setting] = means
    return dict(sorted(found.items(), key=lambda item: -spread(item[1])))


def spread(means: Mapping[Any, float]) -> float:
    """Return how far the means of a setting's values are apart."""
    return max(means.values()) - min(means.values())


def noise(rows: Sequence[Row]) -> float | None:
    """Return the standard deviation between seeds over all combinations; None where no combination has two seeds."""
    several = [row for row in rows if len(row.losses) > 1]
    if not several:
        return None
    weighted = [(len(row.losses) - 1, statistics.variance(row.losses)) for row in several]
    return math.sqrt(sum(free * variance for free, variance in weighted) / sum(free for free, _ in weighted))
