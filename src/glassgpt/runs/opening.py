"""The one way to open a run: directory in, (model, tokenizer, config, lineage) out, all checked to fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from glassgpt import config as configs
from glassgpt import files
from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import add_lora, load_corrections, merge
from glassgpt.adapters.peft_format import merge_adapter
from glassgpt.commands import command
from glassgpt.errors import ModelError, RunError, TokenizerError
from glassgpt.generation.engines import Engine
from glassgpt.generation.fastest import fastest_form
from glassgpt.generation.text import GenerationConfig, TextEvent, joined, prompt_ids, stream, unseen_part
from glassgpt.model.blank import blank
from glassgpt.model.config import ModelConfig
from glassgpt.model.forms import store
from glassgpt.model.gpt import GPT
from glassgpt.runs.checkpoints import CheckpointStore, read_tensors
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory, find_run, list_runs, runs_folder
from glassgpt.runs.facts import Lineage
from glassgpt.runs.places import endings, is_there
from glassgpt.runs.reading import read_config, read_lineage
from glassgpt.system import explaining
from glassgpt.tokenizers.fast import FastTokenizer


@dataclass(frozen=True)
class Run:
    """An opened run, ready to generate, evaluate or fine-tune."""

    directory: RunDirectory
    config: RunConfig
    model: GPT
    tokenizer: FastTokenizer
    lineage: Lineage

    @property
    def knows_documents(self) -> bool:
        """Whether the model was pretrained on documents, each ended by `<|endoftext|>`.

        Imported models were, except a notebook's model of characters; fine-tuned ones are as their base.
        """
        if self.lineage.documents is not None:
            return self.lineage.documents
        return self.lineage.data is not None and self.lineage.data.documents > 1

    @property
    def begin(self) -> list[int] | None:
        """The ids that begin a prompt, for a model from elsewhere. None: decided by `knows_documents`."""
        return self.lineage.begin

    @property
    def before(self) -> list[int]:
        """The ids that came before every training text; empty where there were none."""
        return [self.tokenizer.end_of_text] * self.knows_documents if self.begin is None else self.begin

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the ids of a prompt as in training: those that begin a text, then the text's own."""
        return prompt_ids(self.tokenizer, prompt, documents=self.knows_documents, begin=self.begin)

    def unseen(self, prompt: str) -> str | None:
        """Return a sentence that says how much of a prompt lies before the model's context, or None."""
        return unseen_part("The prompt", len(self.prompt_ids(prompt)), self.model.config.context_length)

    def stream(
        self,
        prompt: str | Sequence[str],
        config: GenerationConfig,
        *,
        count: int = 1,
        use_cache: bool = True,
        engine: Engine = "torch",
    ) -> Iterator[TextEvent]:
        """Continue a prompt, event by event; see `glassgpt.generation.text.stream`."""
        return stream(
            self.model,
            self.tokenizer,
            prompt,
            config,
            count=count,
            documents=self.knows_documents,
            begin=self.begin,
            use_cache=use_cache,
            engine=engine,
        )

    def complete(
        self,
        prompt: str | Sequence[str],
        config: GenerationConfig | None = None,
        *,
        count: int = 1,
        engine: Engine = "auto",
    ) -> list[str]:
        """Return `count` continuations of a prompt, or of each of several, without the prompt itself."""
        events = self.stream(prompt, config or GenerationConfig(), count=count, engine=engine)
        return joined(events, prompt, count)


Weights = Literal["as-saved", "bfloat16", "int8", "auto"]


@explaining
def open_run(name: str, *, device: torch.device | None = None, weights: Weights = "as-saved") -> Run:
    """Open the run at a path, with a name, or the `latest`, its model in evaluation mode on `device`.

    With int8 or bfloat16 weights (see `glassgpt.model.stored`) the model takes less memory and time, and is a little
    less exact. `auto` takes what this machine writes fastest with, and measures that where it is not known.

    A run still training (or killed) opens with its best checkpoint so far; reading never disturbs training.
    Raises `RunError` when a part is missing or does not fit the others.
    """
    directory = find_run(name)
    config = read_config(directory)
    lineage = read_lineage(directory)
    tokenizer = open_tokenizer(directory, lineage)
    model = _open_model(directory, config, tokenizer, lineage)
    model = model.to(device or torch.device("cpu")).eval()
    form = fastest_form(model) if weights == "auto" else weights
    return Run(directory, config, store(model, form), tokenizer, lineage)


def open_tokenizer(directory: RunDirectory, lineage: Lineage) -> FastTokenizer:
    """Return a run's tokenizer. Raises `RunError` when it is missing or replaced, `TokenizerError` when damaged."""
    if not directory.tokenizer.is_file():
        raise RunError(
            f"{directory.tokenizer} is missing: the model's ids mean nothing without it. Put it back."
        )
    try:
        tokenizer = FastTokenizer.from_file(directory.tokenizer)
    except TokenizerError as error:
        raise TokenizerError(
            f"{error} It is part of the run {directory.name}: put the original back."
        ) from error
    made_with = lineage.tokenizer.fingerprint
    if tokenizer.fingerprint != made_with:
        raise RunError(
            f"{directory.tokenizer} is not the tokenizer this run was made with ({tokenizer.fingerprint[:12]} "
            f"instead of {made_with[:12]}): its ids would mean other words. Put the original file back."
        )
    return tokenizer


def _open_model(
    directory: RunDirectory, config: RunConfig, tokenizer: FastTokenizer, lineage: Lineage
) -> GPT:
    if tokenizer.vocab_size > config.model.vocab_size:
        raise RunError(
            f"The tokenizer of {directory.name} has {tokenizer.vocab_size:,} ids but the model only "
            f"{config.model.vocab_size:,}: they do not belong together."
        )
    if lineage.adapter:
        return _open_adapted(directory, lineage)
    path = _weights_file(directory, lineage)
    weights = read_tensors(
        path, cure="It is written again from the checkpoints with:  " + command("resume", directory.handle)
    )
    return _with_weights(config.model, path, directory, weights)


def _with_weights(
    config: ModelConfig, path: Path, directory: RunDirectory, weights: dict[str, Tensor]
) -> GPT:
    """Return a model with the weights that a file holds."""
    model = blank(config)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"{path} does not fit the model in {directory.config}: {str(error).splitlines()[-1].strip()}"
        ) from error
    return model


def _open_adapted(directory: RunDirectory, lineage: Lineage) -> GPT:
    """Return the model of the run's base with the run's adapter merged into it."""
    model = _base_of(directory, lineage)
    if directory.adapter.is_dir():
        trouble = files.broken_seal(directory.adapter)
        if trouble:
            raise RunError(
                f"The adapter of {directory.name} cannot be used ({trouble}). Put the original back."
            )
        return merge_adapter(model, directory.adapter)
    store = CheckpointStore(directory.checkpoints)
    folder = store.best() or store.newest()
    if folder is None:
        raise _no_weights(directory)
    tensors = _of_the_model(read_tensors(folder / "model.safetensors"))
    return _corrected(model, directory, lineage, tensors)


def _base_of(directory: RunDirectory, lineage: Lineage) -> GPT:
    """Return the model of an adapter's base, without the adapter."""
    base = find_base(directory, lineage)
    base_lineage = read_lineage(base)
    return _open_model(base, read_config(base), open_tokenizer(base, base_lineage), base_lineage)


def _corrected(model: GPT, directory: RunDirectory, lineage: Lineage, corrections: dict[str, Tensor]) -> GPT:
    """Merge the corrections of a checkpoint of an adapter into the model of its base."""
    add_lora(model, configs.from_dict(LoRAConfig, lineage.adapter or {}, origin=str(directory.lineage)))
    load_corrections(model, corrections)
    return merge(model)


def _of_the_model(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that are the GPT's own.

    A classifier's has them under `gpt.`, without those that are frozen, and beside the head for its labels.
    """
    own = {name.removeprefix("gpt."): tensor for name, tensor in tensors.items() if name.startswith("gpt.")}
    return own or tensors


def model_with(run: Run, path: Path) -> GPT:
    """Return a run's model with the weights of one of its steps, in evaluation mode, on the run's device.

    Raises `CheckpointError` for a file that cannot be read, `ModelError` for weights of another model.
    """
    tensors = _of_the_model(read_tensors(path))
    if run.lineage.adapter:
        model = _corrected(_base_of(run.directory, run.lineage), run.directory, run.lineage, tensors)
    else:
        frozen = read_tensors(run.directory.weights) if run.lineage.kind == "classify" else {}
        model = _with_weights(run.config.model, path, run.directory, frozen | tensors)
    return model.to(run.model.token_embedding.weight.device).eval()


def find_base(directory: RunDirectory, lineage: Lineage) -> RunDirectory:
    """Return the base run of an adapter. Raises `RunError` when it is gone or has other weights now."""
    base = lineage.base
    if base is None:
        raise RunError(
            f"{directory.lineage} says that {directory.name} is an adapter, but names no base for it."
        )
    places = [base.path, directory.path.parent / base.name, runs_folder() / base.name]
    runs = [RunDirectory(Path(path)) for path in [*places, *endings(base.path, directory)]]
    there = [run for run in runs if is_there(str(run.config))]
    same = next((run for run in there if _weights_of(run) == base.weights), None)
    if same is None and base.weights is not None:  # it may have another name now
        same = next((run for run in list_runs() if _weights_of(run) == base.weights), None)
    found = same or next(iter(there), None)
    if found is None:
        raise RunError(
            f"{directory.name} was made from the run {base.name}, which no longer exists: {base.path}. Put it "
            "back there or beside this run."
        )
    now = read_lineage(found).weights_hash
    if now != base.weights:
        raise RunError(
            f"{directory.name} was made from {base.name} with the weights {str(base.weights)[:12]}, but the "
            f"run {found.name} at {found.path} has the weights {str(now)[:12]}. It would mean nothing on another "
            "base: put the original base back, or fine-tune this one."
        )
    return found


def _weights_of(run: RunDirectory) -> str | None:
    try:
        return read_lineage(run).weights_hash
    except RunError:
        return None


def _no_weights(directory: RunDirectory) -> RunError:
    return RunError(
        f"{directory.name} has no weights yet. Continue its training with:  {command('resume', directory.handle)}"
    )


def _weights_file(directory: RunDirectory, lineage: Lineage) -> Path:
    """Return model.safetensors, or the weights of the best checkpoint where training has found better ones since."""
    store = CheckpointStore(directory.checkpoints)
    noted = lineage.weights
    if directory.weights.is_file() and store.best_step() <= (noted.step if noted else store.best_step()):
        written = lineage.weights_hash
        if written and files.hash_file(directory.weights) != written:
            raise RunError(
                files.git_lfs_pointer(directory.weights)
                or f"{directory.weights} was truncated or altered since it was written (its hash differs). Put the "
                "original back, or delete it and write it again from the checkpoints:  "
                f"{command('resume', directory.handle)}"
            )
        return directory.weights
    folder = store.best() or store.newest()
    if folder is None:
        raise _no_weights(directory)
    return folder / "model.safetensors"
