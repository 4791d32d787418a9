"""What is fine-tuned, on what, and how: `finetune.toml`, and where these things are now if they were moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from glassgpt import config as configs
from glassgpt import files
from glassgpt.corpus.sources import files_below
from glassgpt.errors import ConfigError, did_you_mean
from glassgpt.finetuning.config import KINDS, FineTuneConfig, without_retired
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.places import absolute, find


@dataclass(frozen=True)
class Choice:
    """What is fine-tuned, on what, and how: all that `finetune.toml` holds."""

    base: str
    data: tuple[str, ...]
    config: FineTuneConfig

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return next(name for name, kind in KINDS.items() if type(self.config) is kind)

    def to_toml(self) -> str:
        """Return the text of `finetune.toml`."""
        values = {"kind": self.kind, "base": self.base, "data": list(self.data)}
        return tomli_w.dumps({**values, **configs.to_dict(self.config)})


def read_choice(directory: RunDirectory) -> Choice:
    """Read how a run was fine-tuned. Raises `ConfigError` when `finetune.toml` is not whole."""
    values = configs.read_toml(directory.finetune)
    try:
        kind, base, data = (msgspec.convert(values.pop(key), shape) for key, shape in _HEAD.items())
    except (KeyError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be used: {error}"
        raise ConfigError(f"{directory.finetune} {what}. Put the original back from a copy.") from error
    if kind not in KINDS:
        raise ConfigError(f"{directory.finetune}: there is no kind {kind!r}.{did_you_mean(kind, KINDS)}")
    if "training" not in values:
        raise ConfigError(
            f"{directory.finetune} has no section [training]: it was cut short. Put the original back from a copy."
        )
    if "split_by" not in values:  # a run of version 0.1.0 goes on as it began
        values = {**AS_0_1_0.get(kind, {}), "split_by": "place", **values}
    values = without_retired(KINDS[kind], values)
    return Choice(base, data, configs.from_dict(KINDS[kind], values, origin=str(directory.finetune)))


AS_0_1_0: dict[str, dict[str, Any]] = {"dpo": {"keep_equal": True}, "classify": {"labels_as_written": True}}
"""By kind, the settings by which records are read as version 0.1.0 read them."""

_HEAD: dict[str, Any] = {"kind": str, "base": str, "data": tuple[str, ...]}


def source_facts(data: Sequence[str]) -> list[dict[str, Any]]:
    """Return the name and the hash of all that was learned from: of each file, of all files of a folder."""
    return [{"name": Path(path).name, "fingerprint": _fingerprint(path)} for path in data]


def same_sources(then: Sequence[dict[str, Any]], data: Sequence[str]) -> bool:
    """Say whether data is what a lineage tells of. Of a folder, older versions noted the path alone."""
    now = source_facts(data)
    return len(then) == len(now) and all(
        old["fingerprint"] == new["fingerprint"]
        or (Path(old["fingerprint"]).is_absolute() and Path(path).is_dir())
        for old, new, path in zip(then, now, data, strict=True)
    )


def find_data(
    directory: RunDirectory, choice: Choice, lineage: dict[str, Any], given: Sequence[str]
) -> Choice:
    """Return the choice with its data where that is now, if it was moved; `given` says where.

    Raises `RunError` when something is not to be found. Whether it is still the same is asked later.
    """
    if given:
        return dataclasses.replace(choice, data=absolute(given))
    known = {source["fingerprint"] for source in lineage["data"]["sources"]}

    def accept(path: str) -> bool:
        return Path(path).is_dir() or _fingerprint(path) in known

    found = (find(path, directory, accept, setting="--corpus.sources") for path in choice.data)
    return dataclasses.replace(choice, data=tuple(found))


def _fingerprint(path: str) -> str:
    if Path(path).is_file():
        return files.hash_file(Path(path))
    if Path(path).is_dir():
        inside = [f"{file.relative_to(path)} {files.hash_file(file)}" for file in files_below(Path(path))]
        return files.hash_text("\n".join(inside))
    return path  # a corpus known by name
