"""Exports a run for other programs: write it in their format, let them compute with it, and compare."""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from glassgpt import files
from glassgpt.commands import command
from glassgpt.errors import GlassGPTError, InteropError, MissingExtraError, OutputError, did_you_mean
from glassgpt.interop.parity import Expected, Parity, expect
from glassgpt.leftovers import abandoned, alive, remove_abandoned
from glassgpt.outputs import refuse_overwriting
from glassgpt.runs.opening import Run, find_base, open_run
from glassgpt.system import explaining

Format = Literal["hf", "gguf", "onnx"]
Dtype = Literal["f32", "f16", "q8_0"]
PEERS = {"hf": "transformers", "gguf": "llama.cpp", "onnx": "onnxruntime"}
LONGEST_NAME = 200
"""Largest size of a name in bytes, so that the longer hidden name beside it is still allowed."""
DTYPES: dict[str, tuple[str, ...]] = {"hf": ("f32", "f16"), "gguf": ("f32", "f16", "q8_0"), "onnx": ("f32",)}


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was checked."""

    path: Path
    parity: Parity
    notes: list[str] = field(default_factory=list)


@explaining
def export_run(
    name: str, to: Format, *, output: Path | None = None, dtype: Dtype = "f32", force: bool = False
) -> Exported:
    """Export the run at a path, with a name, or the `latest`, and check the result.

    With `force` it may replace a file or the folder of an earlier export, but nothing that belongs to the run. Raises
    `OutputError` when something else is at `output` already, `ModelError` or `InteropError` when the format cannot
    hold the model or the check fails (then nothing has changed), `MissingExtraError` when the library that writes the
    format is not installed.
    """
    _check_choice(to, dtype)
    run = open_run(name)
    path = output or Path(default_name(run.directory.name, to, dtype))
    _put_back(_places(path, to))
    _refuse_place(path, to, run, force=force)
    expected = expect(run)
    with _replacing(_places(path, to)):
        notes = [*_without(run), *_write(run, to, path, dtype)]
        run.model.to("meta")  # its weights are not needed any more
        del run
        gc.collect()  # torch's exporter leaves reference cycles that hold the weights
        return Exported(path, _check(to, path, expected, dtype), notes)


def _without(run: Run) -> list[str]:
    """Return a sentence about what the run has learned that no format can hold."""
    if run.lineage.labels is None:
        return []
    return [
        "The labels are left out: this is only the language model. Use the labels with:  "
        + command("classify", run.directory.handle, "TEXT")
    ]


def default_name(run: str, to: Format, dtype: Dtype) -> str:
    """Return the default name of an export."""
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


def _refuse_place(path: Path, to: str, run: Run, *, force: bool) -> None:
    """Raise `OutputError` where something exists that may not be replaced, or inside the run itself."""
    if files.as_utf8(str(path)) != str(path):
        raise OutputError(
            f"{files.as_utf8(str(path))} is not UTF-8, and other programs could not open it. Choose another --output."
        )
    for place in _places(path, to):
        if force and to == "hf" and place.exists():
            _refuse_all_but_an_export(place)
        refuse_overwriting(
            place, option="--output", inputs=lambda: _folders_of(run), force=force, folder=to == "hf"
        )
    if path.resolve().is_relative_to(run.directory.path.resolve()):
        raise InteropError(
            f"{path} is inside the run that is exported, whose folder is only for the run. Choose another --output."
        )


def _folders_of(run: Run) -> list[Path]:
    """Return the folders that a run is read from."""
    adapted = run.lineage.adapter is not None
    return [run.directory.path, *([find_base(run.directory, run.lineage).path] if adapted else [])]


def _refuse_all_but_an_export(path: Path) -> None:
    """Raise `OutputError` when a path is not a folder, or the folder holds anything that no export wrote."""
    if not path.is_dir():
        raise OutputError(f"{path} is not a folder, and --to hf writes one. Choose another --output.")
    others = sorted({file.name for file in path.iterdir()} - _exported_there(path))
    if others:
        raise OutputError(
            f"{path} holds other files than those of an export, such as {others[0]}, and they would be lost. Choose "
            "another --output."
        )


def _exported_there(path: Path) -> set[str]:
    """Return the names of the files that an export wrote into a folder."""
    try:
        return {files.MANIFEST, *files.read_json(path / files.MANIFEST)["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _places(path: Path, to: str) -> list[Path]:
    """Return the paths that an export uses: a large ONNX graph has its weights in a file beside it."""
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
    """Let the other program compute. Raises `InteropError` for any error that it raises."""
    try:
        return _check_there(to, path, expected, dtype)
    except GlassGPTError:
        raise
    except Exception as error:  # other programs may raise anything
        raise InteropError(
            f"The exported model could not be checked: {PEERS[to]} fails on it ({type(error).__name__}: "
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


@contextlib.contextmanager
def _replacing(places: list[Path]) -> Iterator[None]:
    """Move what is at the places aside during the block; restore it on failure, and delete it on success."""
    attempt = secrets.token_hex(4)  # the same for all places, so that they are restored together
    moved: dict[Path, Path] = {}
    with contextlib.ExitStack() as held:
        try:
            with files.explain_writing(places[0]):
                for place in places:
                    if place.exists():
                        held.enter_context(alive(place))
                        hidden = place.with_name(f".{_stem_aside(place)}.{attempt}")
                        place.rename(hidden)
                        moved[place] = hidden
            yield
        except BaseException:
            for place in places:
                _remove(place)
            for place, hidden in moved.items():
                hidden.rename(place)
            raise
        for hidden in moved.values():
            _remove(hidden)
    for place in places:
        remove_abandoned(place.parent, _stem_aside(place))


def _put_back(places: list[Path]) -> None:
    """Restore an earlier export that a killed process had moved aside without writing a new one.

    Where something exists at one of the places, nothing is moved; the rest is deleted after the next export.
    """
    if any(os.path.lexists(place) for place in places):
        return
    aside = {place: abandoned(place.parent, _stem_aside(place)) for place in places}
    attempts = {path.name[-8:]: path.lstat().st_mtime for paths in aside.values() for path in paths}
    if not attempts:
        return
    latest = max(attempts, key=lambda attempt: attempts[attempt])
    with contextlib.suppress(OSError):
        for place, paths in aside.items():
            for path in paths:
                if path.name.endswith(latest):
                    path.rename(place)


def _stem_aside(place: Path) -> str:
    """Return the prefix of the hidden names of an earlier export, which is unique to this place."""
    name = place.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{name[:40]}-{files.hash_text(name)[:8]}"
    return f"{name}.replaced"


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # the error may be that nothing can exist there
            place.unlink()
