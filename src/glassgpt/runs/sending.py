"""What may be sent: commands, settings and facts of a run without the private paths of the machine.

A path that begins at the root, at the home folder or above the current folder is reduced to its last name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import tomli_w

from glassgpt.commands import quoted

COMMANDS = ("train", "finetune", "import", "sweep", "resume")
TEXTS = ("prompts", "words", "labels", "stop", "template", "text_field", "label_field")
"""Settings and facts that hold text, never a path: a label may be /r/python, and a stop </s>."""
SENTENCES = ("notes", "command")
"""Facts that may hold a path within other words."""
FOLDERS = re.compile(r"(?<![\w./:<])(?:~|[A-Za-z]:)?[\\/](?:[^\s\\/=,]+[\\/])*(?=[^\s\\/]|$)")
"""The folders of an absolute path within a sentence."""


def public(value: Any, key: str = "") -> Any:
    """Return plain values, such as those of a JSON file, as they may be sent; `key` is the name of a single value."""
    if isinstance(value, dict):
        return {name: public(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [public(item, key) for item in value]
    if not isinstance(value, str) or key in TEXTS:
        return value
    return _public_words(value) if key in SENTENCES else public_path(value)


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
    return ["glassgpt", *(quoted(_public_words(word)) for word in words[1:])]


def public_settings(toml: str) -> str:
    """Return settings in TOML as they may be sent."""
    return tomli_w.dumps(public(tomllib.loads(toml)), multiline_strings=False)


def _public_words(text: str) -> str:
    option, equals, value = text.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={_public_words(value)}"
    return FOLDERS.sub("", public_path(text))
