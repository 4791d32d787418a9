"""Options that several commands have, each declared once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter


def names_in(named: Iterable[str]) -> tuple[str, ...]:
    """Return the names that an option was given, in their order and each once: they may be separated by commas."""
    return tuple(dict.fromkeys(name.strip() for part in named for name in part.split(",") if name.strip()))


TextField = Annotated[str | None, Parameter(name=["--text-field", "--corpus.text-field"])]
