"""Models in and out: seconds and memory of importing and exporting a random model of GPT-2's smallest size.

Each runs in a fresh process. The memory is what the process took beyond its libraries, as a multiple of the weights
in float32; the mark is 2.2. The peer reads the same folder and writes it again with transformers.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Fresh, fresh
from benchmarks.report import Figure
from glassgpt.architectures.configs import to_hugging_face
from glassgpt.architectures.weights import their_recipes
from glassgpt.interop.tensors import write_tensors
from glassgpt.model.config import ModelConfig
from glassgpt.model.presets import PRESETS
from glassgpt.model.summary import FLOAT32, count_parameters
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.train import train_tokenizer

MOST = 2.2
"""The mark: the most memory of an import or export, as a multiple of the weights."""


def run(quick: bool) -> list[Figure]:
    """Write a random GPT-2, then import and export it."""
    config = replace(PRESETS["gpt2-small"], dropout=0.0)
    if quick:
        config = replace(config, n_layer=2, n_embd=64, n_head=2, vocab_size=2048, context_length=64)
    weights = FLOAT32 * count_parameters(config)
    name = f"{count_parameters(config) / 1e6:.0f}M GPT-2"
    with tempfile.TemporaryDirectory(prefix="glassgpt-travel-") as folder, working_in(Path(folder)):
        write_folder(Path("hf"), config)
        peer = fresh(through_transformers, "hf", "again")
        figures = [
            figure(f"import, {name}; transformers reads and writes it", fresh(bring_in), peer, weights)
        ]
        for to, dtype in (("hf", "f32"), ("gguf", "f32"), ("gguf", "q8_0"), ("onnx", "f32")):
            taken = fresh(take_out, to, dtype)
            figures.append(figure(f"export --to {to} --dtype {dtype}, checked, {name}", taken, None, weights))
    return figures


def figure(what: str, ours: Fresh, peer: Fresh | None, weights: int) -> Figure:
    """Return a row of the table; small models have no mark, because libraries take more memory than they do."""
    share = ours.own_bytes / weights
    shown = [describe(one, weights) if one else "" for one in (ours, peer)]
    if weights < 100e6:
        return Figure(what, *shown)
    return Figure(what, *shown, mark=f"at most {MOST}x the weights", reached=share <= MOST)


def describe(measured: Fresh, weights: int) -> str:
    """Return seconds and memory in words."""
    return f"{measured.seconds:.1f} s, {measured.own_bytes / weights:.2f}x the weights"


def bring_in() -> None:
    """Import the folder."""
    from glassgpt.interop.imports import import_model

    import_model("hf", name="travelled")


def take_out(to: Any, dtype: Any) -> None:
    """Export the run, including the check."""
    from glassgpt.interop.exports import export_run

    export_run("travelled", to, dtype=dtype, output=Path(f"out-{to}-{dtype}"))


def through_transformers(source: str, target: str) -> None:
    """Read a folder and write it again, with transformers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.AutoModelForCausalLM.from_pretrained(source).save_pretrained(target)


def write_folder(path: Path, config: ModelConfig) -> None:
    """Write a random model in the Hugging Face format, one tensor at a time."""
    path.mkdir()
    torch.manual_seed(0)
    recipes = their_recipes(config, "gpt2")
    shapes = {name: match.their_shape(name) for name, match in recipes.items()}
    write_tensors(path / "model.safetensors", shapes, lambda name: 0.05 * torch.randn(shapes[name]))
    content = to_hugging_face(config) | {"bos_token_id": 0, "eos_token_id": 0}
    (path / "config.json").write_text(json.dumps(content))
    tokenizer = train_tokenizer(["A small text, for a small vocabulary. "], TokenizerConfig(vocab_size=300))
    tokenizer.save(path / "tokenizer.json")


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Use a folder as working folder and for the runs during the block, also in the processes started in it."""
    before = os.environ.get("GLASSGPT_RUNS")
    os.environ["GLASSGPT_RUNS"] = "runs"
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.pop("GLASSGPT_RUNS")
        if before is not None:
            os.environ["GLASSGPT_RUNS"] = before
