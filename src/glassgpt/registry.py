"""Parts by name: our own, and those that installed packages provide.

A package provides a part through an entry point in its `pyproject.toml`:

    [project.entry-points."glassgpt.activations"]
    snake = "my_package:SNAKE"

The group is `glassgpt.` and the plural of the kind of part. The value is the part itself, or a function without
arguments that returns it. Entry points are searched only for a name that is not ours, or when all names are listed;
a run that uses no part of a package never imports it. `docs/extending.md` shows a toy example of each.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from glassgpt.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from importlib import metadata

Part = TypeVar("Part")


class Registry(Generic[Part]):
    """The parts of one kind. `what` is its plural, such as `activations`; `shape` is the type of a part."""

    def __init__(self, what: str, shape: type[Part], ours: dict[str, Part]) -> None:
        self.what = what
        self._shown = what.replace("_", " ")
        self._shape = shape
        self._ours = dict(ours)
        self._added: dict[str, Part] = {}

    def __getitem__(self, name: str) -> Part:
        """Return the part with this name. Raises `ConfigError` with the known names when there is none."""
        for known in (self._ours, self._added):
            if name in known:
                return known[name]
        point = self._points().get(name)
        if point is None:
            raise ConfigError(
                f"There is no {name!r} among the {self._shown}.{did_you_mean(name, self.names(), most=1)} "
                f"There are: {', '.join(self.names())}. One that a package brings needs that package installed."
            )
        self._added[name] = self._load(name, point)
        return self._added[name]

    def __contains__(self, name: object) -> bool:
        """Return whether there is a part with this name, without importing it."""
        return name in self._ours or name in self._added or name in self._points()

    def __len__(self) -> int:
        return len(self.names())

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all parts."""
        return iter(self.names())

    def get(self, name: str) -> Part | None:
        """Return the part of a name, None where there is none."""
        return self[name] if name in self else None  # noqa: SIM401 - it is what `get` is

    def names(self) -> list[str]:
        """Return the names of all parts, ours first."""
        return list(dict.fromkeys([*self._ours, *self._added, *sorted(self._points())]))

    def package(self, name: str) -> str | None:
        """Return the name and version of the installed package that provides a part; None for one that none does."""
        point = self._points().get(name)
        return None if point is None or point.dist is None else f"{point.dist.name} {point.dist.version}"

    def add(self, name: str, part: Part) -> None:
        """Add a part for this process, from a script or a notebook. Raises `ConfigError` when the name is taken."""
        if name in self:
            raise ConfigError(f"There is a {name!r} among the {self._shown} already: choose another name.")
        self._added[name] = part

    def remove(self, name: str) -> None:
        """Remove a part that `add` added."""
        self._added.pop(name, None)

    def _points(self) -> dict[str, metadata.EntryPoint]:
        found = _entry_points(f"glassgpt.{self.what}", tuple(sys.path))
        return {point.name: point for point in found if point.name not in self._ours}

    def _load(self, name: str, point: metadata.EntryPoint) -> Part:
        try:
            part: Any = point.load()
        except Exception as error:
            raise ConfigError(
                f"{name!r} of the {self._shown} comes from {point.value}, which cannot be imported: {error!r}. "
                "Repair or uninstall the package that brings it."
            ) from error
        if not isinstance(part, self._shape) and callable(part):
            part = part()
        if not isinstance(part, self._shape):
            raise ConfigError(
                f"{name!r} of the {self._shown} comes from {point.value}, which is {type(part).__name__} and not "
                f"{self._shape.__name__}. Repair or uninstall the package that brings it."
            )
        return part


@functools.cache
def _entry_points(group: str, _path: tuple[str, ...]) -> metadata.EntryPoints:
    """Return a group's entry points. Looking through the packages of a path takes some 20 ms, so it is done once."""
    from importlib import metadata  # takes 30 ms, which most commands need not wait for

    return metadata.entry_points(group=group)


def imported(place: str) -> Any:
    """Return the object at `module:name`, so that a table of parts need not import the modules they come from."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
