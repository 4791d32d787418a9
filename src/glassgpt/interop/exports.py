"""A run leaves for other programs: write it in their format, then let them compute and compare."""

from __future__ import annotations

import contextlib
import gc
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glassgpt.errors import GlassGPTError, InteropError, MissingExtraError, did_you_mean
from glassgpt.interop.parity import Expected, Parity, expect
from glassgpt.outputs import refuse_overwriting
from glassgpt.runs.opening import Run, open_run
from glassgpt.system import explaining

Format = Literal["hf", "gguf", "onnx"]
Dtype = Literal["f32", "f16", "q8_0"]
PEERS = {"hf": "transformers", "gguf": "llama.cpp", "onnx": "onnxruntime"}
DTYPES: dict[str, tuple[str, ...]] = {"hf": ("f32", "f16"), "gguf": ("f32", "f16", "q8_0"), "onnx": ("f32",)}


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    path: Path
    parity: Parity
    notes: list[str] = field(default_factory=list)


@explaining
def export_run(name: str, to: Format, *, output: Path | None = None, dtype: Dtype = "f32") -> Exported:
    """Write the run at a path, of a name, or the `latest`, for other programs, and check what was written.

    Raises `OutputError` when something is at `output` already, `ModelError` or `InteropError` when the format cannot
    hold it, or when the check fails (nothing is left then), `MissingExtraError` when the library that writes the
    format is not installed.
    """
    _check_choice(to, dtype)
    run = open_run(name)
    path = output or Path(default_name(run.directory.name, to, dtype))
    _refuse_place(path, to, run)
    expected = expect(run)
    try:
        notes = _write(run, to, path, dtype)
        run.model.to("meta")  # its weights are not needed any more
        del run
        gc.collect()  # torch's exporter leaves circles that hold the weights
        return Exported(path, _check(to, path, expected, dtype), notes)
    except BaseException:
        _remove(path, to)
        raise


def default_name(run: str, to: Format, dtype: Dtype) -> str:
    """Return what an export is called unless the user says otherwise."""
    if to == "hf":
        return f"{run}-hf"
    return f"{run}-{dtype}.gguf" if to == "gguf" else f"{run}.onnx"


def _check_choice(to: str, dtype: str) -> None:
    if to not in DTYPES:
        raise InteropError(
            f"There is no format {to!r}.{did_you_mean(to, DTYPES)} There are: {', '.join(DTYPES)}."
        )
    if dtype not in DTYPES[to]:
        raise InteropError(
            f"--dtype {dtype} is not for --to {to}, which is written in {' or '.join(DTYPES[to])}."
        )


def _refuse_place(path: Path, to: str, run: Run) -> None:
    """Raise `InteropError` where something is already, or where what belongs to a run is kept."""
    for place in _places(path, to):
        refuse_overwriting(place, option="--output", force=None, folder=True)
    if path.resolve().is_relative_to(run.directory.path.resolve()):
        raise InteropError(
            f"{path} lies inside the run that is exported, which holds nothing but the run. Choose another --output."
        )


def _places(path: Path, to: str) -> list[Path]:
    """Return the places that an export takes: a large ONNX graph has its weights in a file beside it."""
    return [path, path.with_name(f"{path.name}.data")] if to == "onnx" else [path]


def _write(run: Run, to: Format, path: Path, dtype: Dtype) -> list[str]:
    if to == "hf":
        from glassgpt.interop.hugging_face import write_folder

        write_folder(run, path, dtype)
        return []
    if to == "gguf":
        from glassgpt.interop.gguf_file import write_gguf

        return write_gguf(run, path, dtype)
    from glassgpt.interop.onnx_file import write_onnx

    return write_onnx(run, path)


def _check(to: Format, path: Path, expected: Expected, dtype: Dtype) -> Parity:
    """Let the other program compute. Raises `InteropError` for whatever it raises."""
    try:
        return _check_there(to, path, expected, dtype)
    except GlassGPTError:
        raise
    except Exception as error:  # programs of others raise anything
        raise InteropError(
            f"What was exported could not be checked: {PEERS[to]} fails on it ({type(error).__name__}: "
            f"{str(error)[:300]}). Nothing was left. Install another version of it, or report this with the run's "
            "config.toml."
        ) from error


def _check_there(to: Format, path: Path, expected: Expected, dtype: Dtype) -> Parity:
    if to == "hf":
        from glassgpt.interop.hugging_face import check_folder

        try:
            return check_folder(path, expected, dtype)
        except MissingExtraError:
            return Parity("", "transformers, which would open it, is not installed")
    if to == "gguf":
        from glassgpt.interop.gguf_check import check_gguf

        return check_gguf(path, expected, dtype)
    from glassgpt.interop.onnx_file import check_onnx

    return check_onnx(path, expected)


def _remove(path: Path, to: str) -> None:
    for place in _places(path, to):
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # what went wrong may be that it cannot be there
                place.unlink()
