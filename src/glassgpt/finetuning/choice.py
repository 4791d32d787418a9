"""What is fine-tuned, on what, and how: `finetune.toml`, and finding the base and the data if they were moved."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from glassgpt import config as configs
from glassgpt import files
from glassgpt.commands import command
from glassgpt.corpus.sources import files_below
from glassgpt.errors import ConfigError, RunError, did_you_mean
from glassgpt.finetuning.config import KINDS, kind_name
from glassgpt.finetuning.settings import FineTuneConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import DataFacts, Lineage
from glassgpt.runs.places import absolute, find, is_there


@dataclass(frozen=True)
class Choice:
    """What is fine-tuned, on what, and how: the content of `finetune.toml`."""

    base: str
    data: tuple[str, ...]
    config: FineTuneConfig

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return kind_name(self.config)

    def to_toml(self) -> str:
        """Return the text of `finetune.toml`."""
        values = {"kind": self.kind, "base": self.base, "data": list(self.data)}
        if package := KINDS.package(self.kind):
            values["package"] = package
        return tomli_w.dumps({**values, **configs.to_dict(self.config)})


def read_choice(directory: RunDirectory) -> Choice:
    """Read how a run was fine-tuned. Raises `ConfigError` when `finetune.toml` is incomplete."""
    return choice_of(directory.finetune)


def choice_of(path: Path) -> Choice:
    """Read the `finetune.toml` of a run at any path. Raises `ConfigError` when it is incomplete."""
    values = configs.read_toml(path)
    try:
        kind, base, data = (msgspec.convert(values.pop(key), shape) for key, shape in _HEAD.items())
        package = msgspec.convert(values.pop("package", None), str | None)
    except (KeyError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be used: {error}"
        raise ConfigError(f"{path} {what}. Put the original back from a copy.") from error
    if kind not in KINDS:
        raise ConfigError(f"{path}: {_missing(kind, package)}")
    if "training" not in values:
        raise ConfigError(
            f"{path} has no section [training]: it was cut short. Put the original back from a copy."
        )
    if "split_by" not in values:  # a run of version 0.1.0 continues as it began
        values = {**AS_0_1_0.get(kind, {}), "split_by": "place", **values}
    shape = KINDS[kind].config
    return Choice(base, data, configs.from_dict(shape, without_retired(shape, values), origin=str(path)))


def _missing(kind: str, package: str | None) -> str:
    """Return what is missing where there is no such kind, and the way out."""
    if package is None:
        return f"there is no kind {kind!r}.{did_you_mean(kind, KINDS)}"
    return (
        f"the kind {kind!r} comes from the package {package}, which is not installed here or has no such kind any "
        "more. Install that package again."
    )


RETIRED = (
    "training.order", "training.stride", "training.evaluate_tokens", "samples", "samples.max_tokens",
    "samples.temperature", "lora", "validation", "split_by",
)  # fmt: skip
"""Settings that kinds had in version 0.1.0 but did not read. The files of old runs contain them."""


def without_retired(kind: type[FineTuneConfig], values: dict[str, Any]) -> dict[str, Any]:
    """Return settings read from a file, without those that the kind no longer has (see `RETIRED`)."""
    return {
        key: _without(section, value, key)
        if isinstance(value, dict) and (section := _type_of(kind, key))
        else value
        for key, value in values.items()
        if _type_of(kind, key) or key not in RETIRED
    }


def _without(section: type, values: dict[str, Any], name: str) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(section)}
    return {key: value for key, value in values.items() if key in known or f"{name}.{key}" not in RETIRED}


def _type_of(kind: type, name: str) -> Any:
    return typing.get_type_hints(kind).get(name)


def settings_from(name: str, kind: str) -> dict[str, Any]:
    """Return all settings of a run's `finetune.toml`, for another run of the same kind. May raise `ConfigError`."""
    choice = choice_of(Path(name))
    if choice.kind != kind:
        raise ConfigError(
            f"{name} is a fine-tuning of the kind {choice.kind}, not {kind}. Use `finetune {choice.kind}`, or the file "
            "of another run."
        )
    return configs.to_dict(choice.config)


AS_0_1_0: dict[str, dict[str, Any]] = {"dpo": {"keep_equal": True}, "classify": {"labels_as_written": True}}
"""By kind, the settings that read records as version 0.1.0 did."""

_HEAD: dict[str, Any] = {"kind": str, "base": str, "data": tuple[str, ...]}


def source_facts(data: Sequence[str]) -> list[dict[str, Any]]:
    """Return the name and the hash of the data: of each file, or of all files of a folder together."""
    return [{"name": Path(path).name, "fingerprint": _fingerprint(path)} for path in data]


def same_sources(then: Sequence[str], data: Sequence[str]) -> bool:
    """Return whether data has the fingerprints of a lineage. For a folder, older versions recorded only the path."""
    now = [facts["fingerprint"] for facts in source_facts(data)]
    return len(then) == len(now) and all(
        old == new or (Path(old).is_absolute() and Path(path).is_dir())
        for old, new, path in zip(then, now, data, strict=True)
    )


def find_data(
    directory: RunDirectory, choice: Choice, lineage: Lineage, given: Sequence[str], *, ask: str = "resume"
) -> Choice:
    """Return the choice with the current place of its data, if that was moved; `given` says where.

    `ask` is the command that an error names.
    Raises `RunError` when something cannot be found. Whether it is unchanged is checked later.
    """
    if given:
        missing = [path for path in given if not is_there(path)]
        if missing:
            raise RunError(f"There is no file or folder {missing[0]}. Name the place of the data.")
        return dataclasses.replace(choice, data=absolute(given))
    known = set(_data_of(directory, lineage).fingerprints)

    def accept(path: str) -> bool:
        return Path(path).is_dir() or _fingerprint(path) in known

    found = (find(path, directory, accept, setting="--corpus.sources", ask=ask) for path in choice.data)
    return dataclasses.replace(choice, data=tuple(found))


def is_unchanged(directory: RunDirectory, lineage: Lineage, choice: Choice) -> bool:
    """Return whether the data is what a run's lineage records. Raises `RunError` where it records none."""
    return same_sources(_data_of(directory, lineage).fingerprints, choice.data)


def refuse_other_data(directory: RunDirectory, lineage: Lineage, choice: Choice) -> None:
    """Raise `RunError` when the data is not what a run's lineage records."""
    if not is_unchanged(directory, lineage, choice):
        raise RunError(
            f"The data of {directory.name} has changed since the run began, so continuing would not be the same "
            f"run. Put the original files back, or start a new run."
        )


def other_reading(
    directory: RunDirectory, lineage: Lineage, now: dict[str, Any], choice: Choice
) -> str | None:
    """Return how this version reads other examples from the same files than the one that began a run, in words.

    `now` are the amounts of the task. None: it reads the same amounts.
    """
    then = _data_of(directory, lineage)
    if _same_amounts(then, now) or not is_unchanged(directory, lineage, choice):
        return None
    counted = _counted(msgspec.convert({"sources": [], **now}, DataFacts))
    return (
        f"The files that {directory.name} learns from are the same as when it began, but this version of GlassGPT "
        f"reads {counted} from them, and {_version_of(lineage)} read {_counted(then)}."
    )


def refuse_other_amounts(
    directory: RunDirectory, lineage: Lineage, now: dict[str, Any], choice: Choice
) -> None:
    """Raise `RunError` for data that gives other examples `now`: older versions did not record each hash."""
    if _same_amounts(_data_of(directory, lineage), now):
        return
    reading = other_reading(directory, lineage, now, choice)
    if reading is not None:
        again = command(
            "finetune", choice.kind, choice.base, *choice.data, config=directory.finetune.resolve()
        )
        raise RunError(
            f"{reading} So it would not be the same run. Finish it with that version, or start a new run with:  {again}"
        )
    raise RunError(
        f"The data of {directory.name} (or how it is prepared) has changed since the run began, so continuing would "
        f"not be the same run. Put the original files back, or start a new run."
    )


def _same_amounts(then: DataFacts, now: dict[str, Any]) -> bool:
    same = msgspec.convert({"sources": [], **now}, DataFacts)
    return (then.documents, then.amounts) == (same.documents, same.amounts)


def _data_of(directory: RunDirectory, lineage: Lineage) -> DataFacts:
    if lineage.data is None:
        raise RunError(f"{directory.lineage} names no data. Put the original back from a copy.")
    return lineage.data


def _version_of(lineage: Lineage) -> str:
    """Return the version of GlassGPT that began a run, in words."""
    version = lineage.machine.get("glassgpt")
    return f"version {version}" if version else "the version that began it"


def _counted(data: DataFacts) -> str:
    return f"{data.documents:,} records with {data.tokens:,} tokens"


def _fingerprint(path: str) -> str:
    if Path(path).is_file():
        return files.hash_file(Path(path))
    if Path(path).is_dir():
        inside = [f"{file.relative_to(path)} {files.hash_file(file)}" for file in files_below(Path(path))]
        return files.hash_text("\n".join(inside))
    return path  # a corpus known by name
