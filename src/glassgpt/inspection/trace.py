"""The whole way of a text through a model, with its real numbers: from characters to the loss of each token.

    text -> pieces and ids -> embedding (+ positions) -> each block's points (`model.points`) -> logits

A trace holds what the model computed in its usual form, so tracing changes no number. What follows from that by one
formula is computed when it is asked for: scores, the mask and weights of attention (T x T numbers a head),
probabilities, losses. So the memory of a trace grows with the length of the text and not with its square.

A trace is saved as a folder with `arrays.safetensors` and `trace.json`, and can be read without the model.

Legend: T tokens, C = n_embd, H query heads, K key/value heads, D head width, F MLP width, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassgpt import config as configs
from glassgpt import files
from glassgpt.errors import InspectionError
from glassgpt.inspection.seen import losses_of, mask_of, seen
from glassgpt.model.attend import attention_weights
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.points import point_names
from glassgpt.runs.opening import Run
from glassgpt.tokenizers.fast import FastTokenizer

FORMAT = 1
"""The version of a saved trace."""
OF_BLOCKS = (
    "attention_input", "queries", "keys", "values", "heads", "attention", "middle", "mlp_input", "neurons", "mlp",
    "output",
)  # fmt: skip
"""The points of each block that are kept. `weights` follow from queries and keys, `input` is the output before."""


@dataclass(frozen=True)
class Trace:
    """The numbers of one text. `arrays` has the kept points of `model.points` by name, and `logits`, as float32."""

    text: str
    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    """The text of each id; bytes that are no whole character are written as \\xNN."""
    before: int
    """How many of the ids stand before the text itself, such as the mark that begins a document."""
    config: ModelConfig
    arrays: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, name: str) -> Tensor:
        """Return the value at any point of the model, without the axis of the batch.

        Raises `InspectionError` for a name that is no point.
        """
        scope, _, point = name.rpartition(".")
        if name in self.arrays:
            return self.arrays[name]
        if name in point_names(self.config.n_layer):
            layer = int(scope.removeprefix("blocks."))
            if point == "input":
                return self.arrays[f"blocks.{layer - 1}.output" if layer else "embedding"]
            if point == "weights":
                return self.weights(layer)
        raise InspectionError(
            f"A trace has no point {name!r}. Its points are: logits, and those that `glassgpt.model.points` lists for "
            f"the blocks 0 to {self.config.n_layer - 1}."
        )

    @property
    def mask(self) -> Tensor:
        """Which key each query sees, bool (T, T)."""
        return mask_of(self.config, len(self))

    def scores(self, layer: int) -> Tensor:
        """Return q k / sqrt(D) for each head, (H, T, T), before the mask (Vaswani et al., 2017, equation 1)."""
        q_HTD, k_KTD = self.arrays[f"blocks.{layer}.queries"], self.arrays[f"blocks.{layer}.keys"]
        k_HTD = k_KTD.repeat_interleave(q_HTD.shape[0] // k_KTD.shape[0], dim=0)
        return q_HTD @ k_HTD.mT / math.sqrt(q_HTD.shape[-1])

    def weights(self, layer: int) -> Tensor:
        """Return how much each token attends to each in every head of a layer, (H, T, T); rows add up to 1."""
        q_HTD, k_KTD = self.arrays[f"blocks.{layer}.queries"], self.arrays[f"blocks.{layer}.keys"]
        return attention_weights(q_HTD[None], k_KTD[None], self.mask)[0]

    @property
    def probabilities(self) -> Tensor:
        """What the model expects after each token, (T, V); rows add up to 1."""
        return self.arrays["logits"].softmax(-1)

    @property
    def losses(self) -> Tensor:
        """The loss of each token after the first in nats, (T - 1,)."""
        return losses_of(self.arrays["logits"], self.ids)

    def save(self, folder: Path) -> None:
        """Write the trace as a folder; one that is there is replaced."""
        facts: dict[str, Any] = {"format": FORMAT, "text": self.text, "ids": list(self.ids)}
        facts |= {
            "pieces": list(self.pieces),
            "before": self.before,
            "model": dataclasses.asdict(self.config),
        }
        with files.atomic_directory(folder) as made:
            save_file(
                {name: array.contiguous() for name, array in self.arrays.items()}, made / "arrays.safetensors"
            )
            files.write_json(made / "trace.json", facts)


def trace(run: Run, text: str) -> Trace:
    """Return the trace of a text as the run's model reads a prompt.

    Raises `InspectionError` where the context does not hold the text, and `GenerationError` for characters that the
    vocabulary does not have.
    """
    ids = run.prompt_ids(text)
    own = len(run.tokenizer.encode(text))
    return trace_ids(run.model, ids, run.tokenizer, text=text, before=len(ids) - own)


def trace_ids(
    model: GPT, ids: Sequence[int], tokenizer: FastTokenizer | None = None, *, text: str = "", before: int = 0
) -> Trace:
    """Return the trace of ids; without a tokenizer the pieces are the ids themselves."""
    kept = [f"blocks.*.{point}" for point in OF_BLOCKS]
    found = seen(model, ids, "embedding", *kept, "final")
    arrays = {name: value.float().cpu() for name, value in found.items()}
    shown = pieces(tokenizer, ids) if tokenizer else tuple(map(str, ids))
    return Trace(text, tuple(ids), shown, before, model.config, arrays)


def pieces(tokenizer: FastTokenizer, ids: Sequence[int]) -> tuple[str, ...]:
    """Return the text of each id alone; bytes that are no whole character are written as \\xNN."""
    if tokenizer.joins_bytes:
        return tuple(
            tokenizer.decode_bytes([id], skip_special=False).decode("utf-8", "backslashreplace") for id in ids
        )
    return tuple(tokenizer.decode([id], skip_special=False) for id in ids)


def read_trace(folder: Path) -> Trace:
    """Read a saved trace. Raises `InspectionError` where the folder holds none, or a damaged one."""
    try:
        if trouble := files.broken_seal(folder):
            raise ValueError(trouble)
        facts = files.read_json(folder / "trace.json")
        if facts["format"] != FORMAT:
            raise InspectionError(
                f"{folder} has a trace of format {facts['format']}, and this version reads format {FORMAT}. Make it "
                "again."
            )
        config = configs.from_dict(ModelConfig, facts["model"], origin=str(folder / "trace.json"))
        arrays = load_file(folder / "arrays.safetensors")
        return Trace(
            facts["text"], tuple(facts["ids"]), tuple(facts["pieces"]), facts["before"], config, arrays
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InspectionError(f"{folder} does not hold a whole trace ({error}). Make it again.") from error
