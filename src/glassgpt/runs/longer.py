"""The command that trains a run again for twice as long."""

from __future__ import annotations

from glassgpt.config import read_toml
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import repeating

LIMITS = ("seconds", "epochs", "steps")
"""Settings that end a training, in the order in which they take precedence."""


def longer(run: RunDirectory) -> tuple[str, str] | None:
    """Return what ends the training of a run, and a command for a new run with twice as much; None if unknown."""
    again = repeating(run)
    training = read_toml(run.finetune if run.finetune.is_file() else run.config).get("training", {})
    limit = next((name for name in LIMITS if training.get(name)), None)
    if not again or not limit:
        return None
    return limit, f"{again} --training.{limit} {2 * training[limit]}".removesuffix(".0")
