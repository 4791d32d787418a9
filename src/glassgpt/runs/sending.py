"""What a page that is meant to be sent may say: commands and settings without the private paths of the machine.

A path that begins at the root, at the home folder or above the current folder is reduced to its last name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import tomli_w

from glassgpt.commands import quoted

COMMANDS = ("train", "finetune", "import", "sweep", "resume")
TEXTS = ("prompts",)
"""Settings that hold text, never a path."""


def public_path(text: str) -> str:
    """Return the last name of a private path; any other text, such as builtin:tinytales, as it is."""
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(text)
        private = path.is_absolute() or path.parts[:1] in (("~",), ("..",)) or text.startswith("~")
        if private and path.name not in ("", ".."):
            return path.name
    return text


def public_command(words: Sequence[str]) -> list[str]:
    """Return the words of the command that made a run, as they may be sent; none when a script made it."""
    if len(words) < 2 or words[1] not in COMMANDS:
        return []
    return ["glassgpt", *(quoted(_public_word(word)) for word in words[1:])]


def public_settings(toml: str) -> str:
    """Return settings in TOML as they may be sent."""
    return tomli_w.dumps(_public(tomllib.loads(toml)), multiline_strings=False)


def _public_word(word: str) -> str:
    option, equals, value = word.partition("=")
    return f"{option}={public_path(value)}" if equals and option.startswith("-") else public_path(word)


def _public(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _public(item, key) for key, item in value.items()}
    if isinstance(value, list) and name not in TEXTS:
        return [_public(item, name) for item in value]
    return public_path(value) if isinstance(value, str) else value
