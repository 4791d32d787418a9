"""The command that trains a run again for twice as long."""

from __future__ import annotations

from collections.abc import Sequence

from glassgpt.commands import line_of
from glassgpt.config import read_toml
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import read_lineage, repeating

LIMITS = ("seconds", "epochs", "steps")
"""Settings that end a training, in the order in which they take precedence."""


def longer(run: RunDirectory) -> tuple[str, str] | None:
    """Return what ends the training of a run, and a command for a new run with twice as much; None if unknown.

    For a run that was planned for some minutes it is the same command with twice the minutes, because they decide more
    than when it ends.
    """
    if paced := twice_the_minutes(read_lineage(run).command[1:]):
        return "minutes", paced
    again = repeating(run)
    training = read_toml(run.finetune if run.finetune.is_file() else run.config).get("training", {})
    limit = next((name for name in LIMITS if training.get(name)), None)
    if not again or not limit:
        return None
    return limit, f"{again} --training.{limit} {2 * training[limit]}".removesuffix(".0")


def twice_the_minutes(words: Sequence[str]) -> str | None:
    """Return a command line with twice its `--minutes` and without its `--name`; None if it has no minutes."""
    given: list[str] = []
    minutes: float | None = None
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option not in ("--minutes", "--name"):
            given.append(word)
            continue
        value = value if equals else next(rest, "")
        if option == "--minutes":
            try:
                minutes = float(value)
            except ValueError:
                return None
    return None if minutes is None else line_of([*given, "--minutes", f"{2 * minutes:g}"])
