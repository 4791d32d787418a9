"""Typed settings: dataclasses in code, TOML in files, one rule of precedence.

    defaults in the dataclass  <  preset  <  recipe file  <  command line

Each package keeps its own frozen dataclass beside the thing it configures. The dataclass checks itself in
`__post_init__` and raises `ConfigError`. This module only converts such dataclasses to and from TOML; it
knows no setting by name. An unknown key is never ignored: it is an error that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
import typing
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w

from glassgpt.errors import ConfigError, did_you_mean
from glassgpt.files import git_lfs_pointer

Config = TypeVar("Config")
LARGEST = 2**63 - 1
"""The largest whole number that the libraries below can hold."""


def from_dict(kind: type[Config], values: dict[str, Any], *, origin: str) -> Config:
    """Build the dataclass `kind` (nested ones included) from plain values.

    `origin` says in messages where the values came from. Raises `ConfigError` on an unknown key, a value
    of the wrong type, or a value that the dataclass itself refuses.
    """
    check_keys(kind, values, origin=origin)
    try:
        refuse_number(values)
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        message = str(error).replace(" - at `$.", " at `").replace("`object`", "a section")
        raise ConfigError(f"{origin}: {message}.") from error
    except (ConfigError, ValueError) as error:  # not a usable number, or refused by the dataclass itself
        raise ConfigError(f"{origin}: {error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested plain values, leaving out what is None (TOML has no null)."""
    return {
        field.name: _plain(value)
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) is not None
    }


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises `ConfigError` naming the line that is not valid TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # RecursionError: brackets nested a thousand deep
        pointer = git_lfs_pointer(path)
        raise ConfigError(pointer or f"{path} is not valid TOML: {str(error).rstrip('.')}.") from error


def load(kind: type[Config], path: Path) -> Config:
    """Read the TOML file `path` into the dataclass `kind`."""
    return from_dict(kind, read_toml(path), origin=str(path))


def to_toml(config: Any) -> str:
    """Return a config as TOML text that `load` reads back to an equal config."""
    return tomli_w.dumps(to_dict(config))


def merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two configs section by section; where both have a value, that of `over` counts."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


@functools.cache  # a list of runs reads hundreds of configs
def types_of(kind: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def check_keys(kind: type, values: dict[str, Any], *, origin: str, section: str = "") -> None:
    """Raise `ConfigError` on the first key of `values` that the dataclass `kind` does not have."""
    known = types_of(kind)
    for key, value in values.items():
        if key not in known:
            hint = did_you_mean(key, known, most=1) or f" Known here: {', '.join(known)}."
            raise ConfigError(f"{origin}: there is no setting `{section}{key}`.{hint}")
        if dataclasses.is_dataclass(known[key]) and isinstance(value, dict):
            check_keys(known[key], value, origin=origin, section=f"{section}{key}.")


def refuse_number(value: Any) -> None:
    """Raise `ValueError` for a number, also in lists and sections, that no setting can be: nan, infinite, too large."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            refuse_number(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number.")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"A number of {len(str(value))} digits is too large: the largest is {LARGEST:,}.")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
