"""Reads a chat template from a file, one of ours or one that came with a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glassgpt.errors import ConfigError

MOST_CHARACTERS = 1_000_000


def check_chat_template(stated: Any, path: Path) -> str:
    """Return the chat template that a file states. Raises `ConfigError` naming the file when it is not text."""
    if not isinstance(stated, str):
        raise ConfigError(
            f"The chat template in {path} is not text but {type(stated).__name__}. Remove it there."
        )
    if len(stated) > MOST_CHARACTERS:
        raise ConfigError(
            f"The chat template in {path} has more than {MOST_CHARACTERS:,} characters: no template is so long. "
            "Put the original back, or remove it there."
        )
    return stated


def read_chat_template(path: Path) -> str:
    """Return the text of a `chat_template.jinja`. Raises `ConfigError` naming the file when it cannot be used."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return check_chat_template(file.read(MOST_CHARACTERS + 1), path)
    except OSError as error:
        raise ConfigError(f"The chat template {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The chat template {path} is not UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8, or put "
            "the original back."
        ) from error
