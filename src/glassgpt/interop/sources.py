"""Finds a model from elsewhere: a folder in the Hugging Face format, by path or by its name on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from glassgpt import files
from glassgpt.architectures.stated import Settings, stated
from glassgpt.chat.stored import check_chat_template, read_chat_template
from glassgpt.errors import InteropError, OfflineError, require
from glassgpt.interop.tensors import TensorFiles, refuse_pointer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
WANTED = ["*.safetensors", INDEX, "*.json", "*.jinja"]
"""The files that are fetched from a repository on the hub: never a pickle, never code."""


MOST_JSON = 64 << 20
"""Size in bytes of the largest JSON file that is read; an index of a hundred thousand tensors takes a tenth of it."""


class Index(msgspec.Struct, frozen=True):
    """The file of each tensor."""

    weight_map: dict[str, str]


class SpecialIds(msgspec.Struct, frozen=True):
    """The ids that begin, end and pad texts."""

    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None


class Template(msgspec.Struct, frozen=True):
    """One of several chat templates."""

    name: str
    template: str


class TokenizerSettings(msgspec.Struct, frozen=True):
    """What matters of `tokenizer_config.json`."""

    chat_template: str | list[Template] | None = None


@dataclass(frozen=True)
class ModelFolder:
    """A folder in the Hugging Face format; nothing in it is executed."""

    path: Path
    name: str
    """Name of the model: its name on the hub, or that of the folder."""

    def config(self) -> dict[str, Any]:
        """Return `config.json`. Raises `InteropError` when there is none."""
        if not (self.path / "config.json").is_file():
            raise InteropError(
                f"{self.path} has no config.json, so it is not a model in the Hugging Face format. Give the folder "
                "that `save_pretrained` wrote, or the FILE.pth of a notebook."
            )
        return self.json("config.json")

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder, empty when there is none. Raises `InteropError` when it is broken."""
        path = self.path / name
        if not path.is_file():
            return {}
        refuse_pointer(path)
        try:
            if path.stat().st_size > MOST_JSON:
                raise ValueError(f"it is larger than {MOST_JSON >> 20} MB")
            content = files.read_json(path)
        except (OSError, ValueError, RecursionError) as error:
            raise InteropError(f"{path} is not valid JSON ({error}): get it again.") from error
        if not isinstance(content, dict):
            raise InteropError(f"{path} does not hold the settings that belong there: get it again.")
        return content

    def weights(self) -> TensorFiles:
        """Open the weights, in one file or several. Raises `InteropError` when they are missing or pickled."""
        if (self.path / WEIGHTS).is_file():
            return TensorFiles([self.path / WEIGHTS])
        if (self.path / INDEX).is_file():
            return TensorFiles(self._shards())
        pickled = sorted(self.path.glob("pytorch_model*.bin"))
        if pickled:
            raise InteropError(
                f"{self.path} has its weights only in {pickled[0].name}, a pickle, which can run any code when it is "
                "opened. Where you trust it, write it again with transformers: "
                "AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW), and import NEW."
            )
        raise InteropError(f"{self.path} has no weights: neither {WEIGHTS} nor {INDEX} is there.")

    def tokenizer(self) -> Path:
        """Return the path of `tokenizer.json`. Raises `InteropError` when there is none."""
        path = self.path / "tokenizer.json"
        if not path.is_file():
            raise InteropError(
                f"{self.path} has no tokenizer.json, without which ids mean nothing. Give one with --tokenizer (a "
                "file, or gpt2), or write it with transformers: AutoTokenizer.from_pretrained(X).save_pretrained(X)."
            )
        return path

    def chat_template(self) -> str | None:
        """Return the chat template in Jinja, where the folder has one."""
        path = self.path / "chat_template.jinja"
        if path.is_file():
            refuse_pointer(path)
            return read_chat_template(path)
        told = self._told(TokenizerSettings, "tokenizer_config.json").chat_template
        if isinstance(told, list):  # several, each with a name
            told = next((one.template for one in told if one.name == "default"), None)
        return None if told is None else check_chat_template(told, self.path / "tokenizer_config.json")

    def eos_ids(self) -> list[int]:
        """Return the ids that end an answer, the first one first."""
        for name in ("generation_config.json", "config.json"):
            told = self._told(SpecialIds, name).eos_token_id
            if told is not None:
                return told if isinstance(told, list) else [told]
        return []

    def special_ids(self) -> dict[str, int]:
        """Return the ids with a meaning in config.json, by their names there."""
        told = self._told(SpecialIds, "config.json")
        ends = told.eos_token_id if isinstance(told.eos_token_id, list) else [told.eos_token_id]
        named = [("bos_token_id", told.bos_token_id), *(("eos_token_id", id) for id in ends)]
        return {name: id for name, id in [*named, ("pad_token_id", told.pad_token_id)] if id is not None}

    def _told(self, kind: type[Settings], name: str) -> Settings:
        return stated(kind, self.json(name), origin=str(self.path / name))

    def _shards(self) -> list[Path]:
        """Return the files that the index names, all of which must be in this folder."""
        names = sorted(set(self._told(Index, INDEX).weight_map.values()))
        strange = [name for name in names if not re.fullmatch(r"[^/\\\0]+\.safetensors", name)]
        if strange:
            raise InteropError(
                f"{self.path / INDEX} names {strange[0]!r}, which is not a safetensors file of this folder. Get the "
                "model again, from somebody you trust."
            )
        shards = [self.path / name for name in names]
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing or not shards:
            raise InteropError(
                f"{self.path} is not complete: {INDEX} names {', '.join(missing[:5]) or 'no files'}. Get the rest."
            )
        return shards


def find_folder(name: str) -> ModelFolder:
    """Return the folder at a path, or the model of that name on the hub, downloaded first if needed.

    Raises `InteropError` when there is no such model, `OfflineError` when the hub cannot be reached.
    """
    try:
        is_folder, is_there = Path(name).is_dir(), Path(name).exists()
    except (OSError, ValueError):  # not a possible file name
        is_folder = is_there = False
    if is_folder:
        return ModelFolder(Path(name), Path(name).resolve().name)
    if is_there:
        raise InteropError(
            f"{name} is a file. Give the folder that holds config.json and the weights, or the FILE.pth of a notebook."
        )
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise InteropError(
            f"There is no folder {name[:200]}, and it is not the name of a model on the hub (such as Qwen/Qwen3-0.6B)."
        )
    return ModelFolder(_download(name), name)


def _download(name: str) -> Path:
    hub = require("huggingface_hub", extra="hf", purpose="fetch models from the Hugging Face hub")
    errors = require("huggingface_hub.errors", extra="hf", purpose="fetch models from the Hugging Face hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=WANTED))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise InteropError(
            f"There is no folder {name}, and no model of that name on the hub (or it is private: log in with  "
            "hf auth login)."
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError, ConnectionError) as error:
        offline = OfflineError(
            f"There is no folder {name}, and the hub, where a model of that name may be, cannot be reached. Try again "
            "with a network."
        )
        offline.add_note(
            "Or fetch it on a machine with a network, bring the folder here, and import that:  hf download "
            f"{name} --local-dir FOLDER"
        )
        raise offline from error
