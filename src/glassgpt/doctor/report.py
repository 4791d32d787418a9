"""The whole diagnosis as plain values for a bug report: no path names the user."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassgpt import __version__
from glassgpt.doctor.check import Step
from glassgpt.doctor.measure import Measured
from glassgpt.doctor.surroundings import Extra, Space
from glassgpt.machine.facts import Facts
from glassgpt.machine.kept import Kept


@dataclass(frozen=True)
class Diagnosis:
    """What was found. `measured` is None and `steps` is empty where they were not requested."""

    facts: Facts
    space: Space
    versions: dict[str, str]
    extras: list[Extra]
    hubs: dict[str, bool]
    caches: list[str]
    measured: Measured | None
    kept: dict[str, Kept]
    steps: list[Step]

    @property
    def troubles(self) -> list[str]:
        """Sentences about what does not work; empty on a healthy machine."""
        found = [f"{step.name}: {step.trouble}" for step in self.steps if step.trouble]
        found += [
            f"The library {name} is missing." for name, has in self.versions.items() if has == "missing"
        ]
        return [*self.caches, *found]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values. The home folder is written as ~."""
        values = {
            "glassgpt": __version__,
            "facts": dataclasses.asdict(self.facts),
            "space": dataclasses.asdict(self.space),
            "versions": self.versions,
            "extras": [dataclasses.asdict(extra) for extra in self.extras],
            "hubs": self.hubs,
            "caches": self.caches,
            "measured": dataclasses.asdict(self.measured) if self.measured else None,
            "kept": {
                question: {"choice": kept.choice, **kept.figures} for question, kept in self.kept.items()
            },
            "check": [dataclasses.asdict(step) for step in self.steps],
            "troubles": self.troubles,
        }
        return _without_home(values)


def _without_home(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_home(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_home(item) for item in value]
    return value.replace(str(Path.home()), "~") if isinstance(value, str) else value
