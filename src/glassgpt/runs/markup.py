"""Templates of pages: whatever a model or a person wrote is text in them, never markup."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

import jinja2

from glassgpt.runs.records import readable


def page_template(package: str, name: str, filters: dict[str, Callable[..., Any]]) -> jinja2.Template:
    """Return the template `name` of a package, with filters beside those of jinja."""
    text = resources.files(package).joinpath(name).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_readable
    )
    environment.filters |= filters
    return environment.from_string(text)


def _readable(value: Any) -> Any:
    """Return a value without characters that a page cannot hold; markup that is marked as safe stays as it is."""
    return readable(value) if type(value) is str else value
