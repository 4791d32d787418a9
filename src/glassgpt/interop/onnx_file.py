"""A run as an ONNX graph: ids (B, T) in, logits (B, T, V) out, for any B and T up to the context length.

Any model can be written, whatever its parts, because the graph is traced from our own code. It has no cache: each call
computes the whole text. The tokenizer is the run's `tokenizer.json`. Large weights are stored beside the graph in
`NAME.onnx.data`, because one file of the format holds 2 GB at most, and making it takes several copies in memory.

Legend: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from glassgpt import files
from glassgpt.errors import require
from glassgpt.interop.parity import Expected, Parity, compare
from glassgpt.model.attention import visible
from glassgpt.model.config import require_known
from glassgpt.model.gpt import GPT
from glassgpt.model.positions import rope_frequencies, rotation
from glassgpt.runs.opening import Run

BESIDE_FROM = 64 << 20
"""Size of the weights in bytes from which they are stored in a separate file."""


def weights_beside(path: Path) -> Path:
    """Return the path of the weights of a large model's graph."""
    return path.with_name(f"{path.name}.data")


class Graph(nn.Module):
    """The model's computation without branches on sizes, because one graph must serve all sizes."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        require_known(
            model.config,
            "the graph in interop/onnx_file.py",
            positions=("learned", "sinusoidal", "rotary", "none"),
            attention=("full", "sliding", "strided"),
        )
        self.model = model

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Return the logits (B, T, V)."""
        config = self.model.config
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        mask_TT = visible(config, positions_T, positions_T)
        turn = None
        if config.positions == "rotary":
            turn = rotation(positions_T, rope_frequencies(config, ids_BT.device))
        x_BTC = self.model.embed(ids_BT, positions_T)
        for block in self.model.blocks:
            x_BTC = block(x_BTC, turn, mask_TT)
        x_BTC = self.model.final_norm(x_BTC)
        if self.model.head is not None:
            return self.model.head(x_BTC)
        # The embedding is used as it is; transposed, it would be a second copy of the largest matrix.
        return (self.model.token_embedding.weight @ x_BTC.transpose(1, 2)).transpose(1, 2)


class TurnedLinear(nn.Module):
    """A linear layer that stores its matrix as ONNX multiplies by it, (C, N); otherwise each run would transpose it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight_CN = nn.Parameter(linear.weight.detach().T.contiguous(), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., N)."""
        y = x @ self.weight_CN
        return y if self.bias is None else y + self.bias


def turn_matrices(model: GPT) -> GPT:
    """Replace every linear layer by a `TurnedLinear`, one after the other; return the same model."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, TurnedLinear(child))
    return model


def write_onnx(run: Run, path: Path) -> list[str]:
    """Write the graph completely or not at all; the run's model cannot be used for anything else afterwards.

    Raises `MissingExtraError` without the libraries for it.
    """
    purpose = "write ONNX files"
    onnx: Any = require("onnx", extra="onnx", purpose=purpose)
    require("onnxscript", extra="onnx", purpose=purpose)
    sizes = {"ids_BT": {0: Dim("batch", min=1), 1: Dim("length", min=1, max=run.model.config.context_length)}}
    example = torch.zeros((2, min(3, run.model.config.context_length)), dtype=torch.int64)
    with _quiet():
        program: Any = torch.onnx.export(
            Graph(turn_matrices(run.model.eval())), (example,), dynamo=True, dynamic_shapes=sizes,
            input_names=["ids"], output_names=["logits"], verbose=False,
            optimize=False,  # the runtime does it better, and here the weights would stay in memory
        )  # fmt: skip
    size = sum(weight.numel() * weight.element_size() for weight in run.model.parameters())
    if size < BESIDE_FROM:
        with files.atomic_write(path, "wb") as file:
            onnx.save(program.model_proto, file)
        return []
    _save_in_two(program, path)
    return [f"Its weights are in {weights_beside(path).name}: keep the two files together."]


def _save_in_two(program: Any, path: Path) -> None:
    """Write the weights, then the graph that names their file: nothing counts as written before the graph exists."""
    with files.explain_writing(path), files.temporary_folder(path) as folder:
        program.save(folder / path.name, external_data=True)
        for file in (weights_beside(path), path):
            files.flush_to_disk(folder / file.name)
            (folder / file.name).replace(file)


def check_onnx(path: Path, expected: Expected) -> Parity:
    """Run the graph with onnxruntime, for two sizes, and compare the logits."""
    runtime: Any = require("onnxruntime", extra="onnx", purpose="check the exported graph")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Copying every matrix into the order of a product would pay only for many calls, not for two.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    by = f"onnxruntime {runtime.__version__}"
    name = session.get_inputs()[0].name
    half = max(1, expected.ids_BT.shape[1] // 2)
    for ids_BT, rows in ((expected.ids_BT[:1, :half], slice(0, 1)), (expected.ids_BT, slice(None))):
        (logits_BTV,) = session.run(None, {name: ids_BT.numpy()})
        part = replace(expected, logits_BTV=expected.logits_BTV[rows, : ids_BT.shape[1]])
        parity = compare(part, torch.from_numpy(logits_BTV), by=by, dtype="f32")
    return parity


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's exporter during the block."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
