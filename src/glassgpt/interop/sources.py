"""Where a model from elsewhere lies: a folder in the Hugging Face format, by place or by its name on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassgpt import files
from glassgpt.errors import InteropError, OfflineError, require
from glassgpt.interop.tensors import TensorFiles
from glassgpt.runs.chat_templates import check_chat_template, read_chat_template

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
WANTED = ["*.safetensors", INDEX, "*.json", "*.jinja"]
"""What of a hub's repository is fetched: never a pickle, never code."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder in the Hugging Face format; nothing of it is executed."""

    path: Path
    name: str
    """What to call the model: its name on the hub, or that of the folder."""

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
        try:
            content = files.read_json(self.path / name) if (self.path / name).is_file() else {}
        except ValueError as error:
            raise InteropError(f"{self.path / name} is not valid JSON ({error}): get it again.") from error
        if not isinstance(content, dict):
            raise InteropError(
                f"{self.path / name} does not hold the settings that belong there: get it again."
            )
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
                "opened. Where you trust it, write it anew with transformers: "
                "AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW), and import NEW."
            )
        raise InteropError(f"{self.path} has no weights: neither {WEIGHTS} nor {INDEX} is there.")

    def tokenizer(self) -> Path:
        """Return the place of `tokenizer.json`. Raises `InteropError` when there is none."""
        path = self.path / "tokenizer.json"
        if not path.is_file():
            raise InteropError(
                f"{self.path} has no tokenizer.json, without which ids mean nothing. Give one with --tokenizer (a "
                "file, or gpt2), or write it with transformers: AutoTokenizer.from_pretrained(X).save_pretrained(X)."
            )
        return path

    def chat_template(self) -> str | None:
        """Return how messages become a prompt, in Jinja, where the folder says so."""
        path = self.path / "chat_template.jinja"
        if path.is_file():
            return read_chat_template(path)
        stated = self.json("tokenizer_config.json").get("chat_template")
        if isinstance(stated, list):  # several, each with a name
            stated = next((one.get("template") for one in stated if _is_default(one)), None)
        return None if stated is None else check_chat_template(stated, self.path / "tokenizer_config.json")

    def eos_ids(self) -> list[int]:
        """Return the ids that end an answer, the first one first."""
        stated = self.json("generation_config.json").get("eos_token_id", self.config().get("eos_token_id"))
        if stated is None:
            return []
        return list(stated) if isinstance(stated, list) else [stated]

    def _shards(self) -> list[Path]:
        index = self.json(INDEX)
        shards = [self.path / name for name in sorted(set(index.get("weight_map", {}).values()))]
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing or not shards:
            raise InteropError(
                f"{self.path} is not complete: {INDEX} names {', '.join(missing) or 'no files'}. Get the rest of it."
            )
        return shards


def _is_default(template: Any) -> bool:
    return isinstance(template, dict) and template.get("name") == "default"


def find_folder(name: str) -> ModelFolder:
    """Return the folder at a place, or the model of that name on the hub, downloaded first where need be.

    Raises `InteropError` when there is none of that name, `OfflineError` when the hub cannot be reached.
    """
    if Path(name).is_dir():
        return ModelFolder(Path(name), Path(name).resolve().name)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or Path(name).exists():
        raise InteropError(
            f"There is no folder {name}, and it is no name of a model on the hub (such as Qwen/Qwen3-0.6B)."
        )
    return ModelFolder(_download(name), name)


def _download(name: str) -> Path:
    hub = require("huggingface_hub", extra="hf", purpose="fetch models from the Hugging Face hub")
    errors = require("huggingface_hub.errors", extra="hf", purpose="fetch models from the Hugging Face hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=WANTED))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InteropError(
            f"There is no folder {name}, and no model of that name on the hub (or it is private: log in with  "
            "hf auth login)."
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError, ConnectionError) as error:
        raise OfflineError(
            f"There is no folder {name}, and the hub, where a model of that name may be, cannot be reached. Try "
            "again with a network; or on a machine with one run  hf download "
            f"{name} --local-dir FOLDER,  bring the folder here, and import that."
        ) from error
