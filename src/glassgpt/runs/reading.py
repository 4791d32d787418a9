"""Reading the files that describe a run, with every type checked: config.toml, lineage.json and others.

A file that is valid JSON or TOML but has the wrong structure is refused here by name, so no other code has to handle
it. Unknown keys are ignored: a later version may have written them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TypeVar

import msgspec

from glassgpt import config as configs
from glassgpt import files
from glassgpt.commands import command, line_of
from glassgpt.errors import ConfigError, GlassGPTError, RunError
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import Comparison, Confusion, Lineage
from glassgpt.tokenizers.ready_made import READY_MADE

Shape = TypeVar("Shape")


def read_lineage(directory: RunDirectory) -> Lineage:
    """Read lineage.json. Raises `RunError` when it is missing, unreadable, or has the wrong structure."""
    return _typed(directory, directory.lineage, Lineage)


def readable_lineage(directory: RunDirectory) -> Lineage | None:
    """Return a run's lineage, or None where it cannot be read."""
    try:
        return read_lineage(directory)
    except GlassGPTError:
        return None


def read_comparison(directory: RunDirectory) -> Comparison:
    """Read comparison.json. Raises `RunError` when it is unreadable or has the wrong structure."""
    return _typed(directory, directory.comparison, Comparison)


def read_confusion(directory: RunDirectory) -> Confusion:
    """Read confusion.json. Raises `RunError` when it is unreadable or has the wrong structure."""
    return _typed(directory, directory.confusion_counts, Confusion)


def read_config(directory: RunDirectory) -> RunConfig:
    """Read config.toml, which must be complete: no setting of a run is ever guessed.

    Where the file of a vocabulary has moved, the run's own `tokenizer.json` is used. Raises `ConfigError`.
    """
    try:
        values = configs.read_toml(directory.config)
    except ConfigError as error:
        raise ConfigError(f"{error} Put the original back from a copy.{_begun_with(directory)}") from error
    missing = [field.name for field in dataclasses.fields(RunConfig) if field.name not in values]
    if missing:
        what = f"has no section [{missing[0]}]: it was cut short" if values else "is empty"
        raise ConfigError(
            f"{directory.config} {what}. Put the original back from a copy.{_begun_with(directory)}"
        )
    config = configs.from_dict(RunConfig, values, origin=str(directory.config))
    return with_own_tokenizer(config, directory)


def with_own_tokenizer(config: RunConfig, directory: RunDirectory) -> RunConfig:
    """Return the config with the run's `tokenizer.json` in place of a missing vocabulary file.

    A relative path also becomes the run's own file, because the folder that it was relative to is unknown.
    """
    name = config.tokenizer.name
    if name is None or name in READY_MADE or (Path(name).is_absolute() and Path(name).exists()):
        return config
    tokenizer = dataclasses.replace(config.tokenizer, name=str(directory.tokenizer))
    return dataclasses.replace(config, tokenizer=tokenizer)


def repeating(directory: RunDirectory) -> str | None:
    """Return a command that trains a run with these settings again under another name, or None where unknown."""
    try:
        if directory.finetune.is_file():
            values = configs.read_toml(directory.finetune)
            of_it = directory.finetune.resolve()  # absolute, like base and data: found from any folder
            return command("finetune", values["kind"], values["base"], *values["data"], config=of_it)
        sources = read_config(directory).corpus.sources
    except (GlassGPTError, KeyError, TypeError):
        return None
    return command("train", config=directory.config) if sources else None


def asking(directory: RunDirectory) -> str:
    """Return the command that lets a run do what it was trained for: write, talk or classify."""
    lineage = readable_lineage(directory)
    if lineage is not None and lineage.labels is not None:
        return command("classify", directory.handle, "a text")
    name = "chat" if lineage is not None and lineage.chat else "generate"
    return command(name, directory.handle)


def _typed(directory: RunDirectory, path: Path, shape: type[Shape]) -> Shape:
    """Return the content of a JSON file as a `shape`."""
    try:
        return msgspec.convert(files.read_json(path), shape)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing. Put it back from a copy{_or_repeat(directory)}") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        what = str(error).replace(" - at `$.", " at `").replace(" - at `$`", "")
        raise RunError(
            f"{path} is damaged ({what}). Put the original back from a copy{_or_repeat(directory)}"
        ) from error


def _or_repeat(directory: RunDirectory) -> str:
    again = repeating(directory)
    return f", or train a new run of these settings:  {again}" if again else "."


def _begun_with(directory: RunDirectory) -> str:
    """Return a sentence with the command that began the run, where its lineage has it."""
    try:
        words = files.read_json(directory.lineage)["command"]
        return f" The run was begun with:  {line_of(words[1:])}"
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return ""
