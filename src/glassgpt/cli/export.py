"""`glassgpt export`: a run in the format of another program, checked with that program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from glassgpt.cli.given import refuse_misplaced


def export(
    run: str = "latest",
    *,
    to: Literal["hf", "gguf", "onnx"] = "hf",
    output: Path | None = None,
    dtype: Literal["f32", "f16", "q8_0"] = "f32",
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a run for other programs, and check that they compute the same.

    Args:
        run: A run's name or path, or latest.
        to: hf writes a folder for transformers and vLLM; gguf a file for llama.cpp and Ollama; onnx a graph.
        output: Where to write it; by default in this folder, under the run's name.
        dtype: f32 is exact; f16 takes half the space; q8_0 (gguf) about a quarter.
        force: Overwrite an existing file, or the folder of an earlier export.
    """
    refuse_misplaced(run, most=0)  # before torch is imported: it takes seconds
    from glassgpt.cli.terminal import make_console, say
    from glassgpt.interop.exports import export_run
    from glassgpt.model.summary import byte_size

    done = export_run(run, to, output=output, dtype=dtype, force=force)
    paths = done.path.iterdir() if done.path.is_dir() else [done.path]
    size = sum(path.stat().st_size for path in paths)
    console = make_console()
    say(console, f"{done.path} ({byte_size(size)})", style="bold")
    for note in (*done.notes, done.parity.line()):
        say(console, note)
