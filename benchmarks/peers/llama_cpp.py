"""llama.cpp, from the wheel `xllamacpp`, on a model that GlassGPT has exported."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.travel import working_in, write_folder
from glassgpt.interop.exports import export_run
from glassgpt.interop.imports import import_model
from glassgpt.interop.llama_server import Llama
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.runs.opening import open_run


def pair(config: ModelConfig, *, int8: bool = False, threads: int = 1) -> tuple[GPT, Llama]:
    """Return a random GPT-2 of this shape as ours, and llama.cpp with the same weights, both in float32 or 8 bits."""
    with tempfile.TemporaryDirectory(prefix="glassgpt-peer-") as folder, working_in(Path(folder)):
        write_folder(Path("hf"), config)
        import_model("hf", name="pair")
        dtype, weights = ("q8_0", "int8") if int8 else ("f32", "as-saved")
        exported = export_run("pair", "gguf", output=Path("pair.gguf"), dtype=dtype)
        return open_run("pair", weights=weights).model, Llama(exported.path, threads=threads)


def tokens_per_second(llama: Llama, prompt: list[int], tokens: int) -> float:
    """Return the speed of greedy generation by its own clock, which excludes the HTTP requests."""
    answer: dict[str, Any] = llama.ask(
        "completion", prompt=prompt, n_predict=tokens, temperature=0, ignore_eos=True, cache_prompt=False
    )
    return answer["timings"]["predicted_per_second"]
