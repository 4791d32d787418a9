"""One way to open a run: directory in, (model, tokenizer, config, lineage) out, all checked to fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from glassgpt import config as configs
from glassgpt import files
from glassgpt.errors import ModelError, RunError
from glassgpt.generation.text import GenerationConfig, TextEvent, complete, stream
from glassgpt.model.gpt import GPT
from glassgpt.runs.checkpoints import CheckpointStore, read_tensors
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory, find_run
from glassgpt.tokenizers.fast import FastTokenizer


@dataclass(frozen=True)
class Run:
    """An opened run, ready to generate, evaluate or fine-tune."""

    directory: RunDirectory
    config: RunConfig
    model: GPT
    tokenizer: FastTokenizer
    lineage: dict[str, Any]

    @property
    def knows_documents(self) -> bool:
        """Whether training showed the model documents, each begun and ended by `<|endoftext|>`."""
        return self.lineage.get("data", {}).get("documents", 0) > 1

    def stream(
        self, prompt: str, config: GenerationConfig, *, count: int = 1, use_cache: bool = True
    ) -> Iterator[TextEvent]:
        """Continue a prompt, event by event; see `glassgpt.generation.text.stream`."""
        return stream(
            self.model,
            self.tokenizer,
            prompt,
            config,
            count=count,
            documents=self.knows_documents,
            use_cache=use_cache,
        )

    def complete(self, prompt: str, config: GenerationConfig | None = None, *, count: int = 1) -> list[str]:
        """Return `count` continuations of a prompt, the prompt left out."""
        config = config or GenerationConfig()
        return complete(
            self.model, self.tokenizer, prompt, config, count=count, documents=self.knows_documents
        )


def open_run(name: str, *, device: torch.device | None = None) -> Run:
    """Open the run at a path, of a name, or the `latest`, its model in evaluation mode on `device`.

    A run still training (or killed) opens with its best checkpoint so far; reading never disturbs training.
    Raises `RunError` when a part is missing or does not fit the others.
    """
    directory = find_run(name)
    config = configs.load(RunConfig, directory.config)
    lineage = read_lineage(directory)
    tokenizer = _open_tokenizer(directory, lineage)
    model = _open_model(directory, config, tokenizer, lineage)
    return Run(directory, config, model.to(device or torch.device("cpu")).eval(), tokenizer, lineage)


def read_lineage(directory: RunDirectory) -> dict[str, Any]:
    """Read lineage.json. Raises `RunError` when it is missing or broken."""
    try:
        return files.read_json(directory.lineage)
    except (OSError, ValueError) as error:
        raise RunError(
            f"{directory.lineage} is missing or broken: this run cannot say where its parts came from. "
            f"Delete what is left of it, and `glassgpt resume {directory.name}` writes it anew."
        ) from error


def _open_tokenizer(directory: RunDirectory, lineage: dict[str, Any]) -> FastTokenizer:
    if not directory.tokenizer.is_file():
        raise RunError(
            f"{directory.tokenizer} is missing: without it the model's ids mean nothing. Put it back."
        )
    tokenizer = FastTokenizer.from_file(directory.tokenizer)
    made_with = lineage.get("tokenizer", {}).get("fingerprint", tokenizer.fingerprint)
    if tokenizer.fingerprint != made_with:
        raise RunError(
            f"{directory.tokenizer} is not the tokenizer this run was made with ({tokenizer.fingerprint[:12]} "
            f"instead of {made_with[:12]}): its ids would mean other words. Put the original file back."
        )
    return tokenizer


def _open_model(
    directory: RunDirectory, config: RunConfig, tokenizer: FastTokenizer, lineage: dict[str, Any]
) -> GPT:
    if tokenizer.vocab_size > config.model.vocab_size:
        raise RunError(
            f"The tokenizer of {directory.name} has {tokenizer.vocab_size:,} ids but the model only "
            f"{config.model.vocab_size:,}: they do not belong together."
        )
    path = _weights_file(directory, lineage)
    weights = read_tensors(path)
    with torch.device("meta"), _Undrawn():  # the weights are about to come from the file
        model = GPT(config.model)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"{path} does not fit the model in {directory.config}: {str(error).splitlines()[-1].strip()}"
        ) from error
    return model


class _Undrawn(TorchFunctionMode):
    """Leaves weights as they are where a module would draw them: for the meta device, drawing loads all of
    torch's compiler, which takes longer than everything else about opening a run."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_):
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _weights_file(directory: RunDirectory, lineage: dict[str, Any]) -> Path:
    """Return model.safetensors, or the weights of the best checkpoint where training has found better since."""
    store = CheckpointStore(directory.checkpoints)
    noted = lineage.get("weights") or {}
    if directory.weights.is_file() and store.best_step() <= noted.get("step", store.best_step()):
        written = noted.get("sha256")
        if written and files.hash_file(directory.weights) != written:
            raise RunError(
                f"{directory.weights} was truncated or altered since it was written (its hash differs). Put the "
                f"original back, or delete it and run  glassgpt resume {directory.name}  to write it anew."
            )
        return directory.weights
    folder = store.best() or store.newest()
    if folder is None:
        raise RunError(
            f"{directory.name} has no weights yet. Go on training it with:  glassgpt resume {directory.name}"
        )
    return folder / "model.safetensors"
