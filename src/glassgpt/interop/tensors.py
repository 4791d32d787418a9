"""Weights on disk, one tensor at a time: neither reading nor writing ever holds a second copy of a model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glassgpt import files
from glassgpt.errors import InteropError

DTYPE_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
NUMBERS = ("F32", "F16", "BF16", "F64")
"""The types of weights that can be read."""


class TensorFiles:
    """The tensors of one or several safetensors files, by name.

    Raises `InteropError` when a file is truncated, is not a safetensors file, or has a name that another file has.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        """The types by their names in the format: F32, BF16, I64 ..."""
        self._places: dict[str, Path] = {}
        for path in paths:
            self._look_into(path)

    def _look_into(self, path: Path) -> None:
        refuse_pointer(path)
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - it is not a mapping
                    if name in self._places:
                        raise InteropError(
                            f"{path.name} and {self._places[name].name} both have {name}, and nothing shows "
                            "which one counts. Get the model again."
                        )
                    tensor = file.get_slice(name)
                    self._places[name] = path
                    self.shapes[name], self.dtypes[name] = tuple(tensor.get_shape()), tensor.get_dtype()
        except (SafetensorError, OSError, ValueError) as error:
            raise InteropError(
                f"{path} cannot be read as weights ({error}). It is truncated or not a safetensors file: get it again."
            ) from error

    def read(self, name: str) -> Tensor:
        """Return a separate copy of a tensor in float32."""
        with safe_open(self._places[name], framework="pt") as file:
            return file.get_tensor(name).float()


def refuse_pointer(path: Path) -> None:
    """Raise `InteropError` when a file is only a Git LFS pointer to the real one."""
    try:
        pointer = files.git_lfs_pointer(path)
    except OSError as error:
        raise InteropError(f"{path} cannot be read ({error.strerror}).") from error
    if pointer:
        raise InteropError(pointer)


def refuse_kind(name: str, dtype: str) -> None:
    """Raise `InteropError` for weights whose numbers cannot be used directly, such as quantized ones."""
    if dtype not in NUMBERS:
        raise InteropError(
            f"The weights have {name} as {dtype}, which cannot be computed with as it is: they may be quantized. Take "
            "the original ones, in float32, float16 or bfloat16."
        )


def write_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    make: Callable[[str], Tensor],
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a safetensors file of the tensors that `make` returns by name; each is freed once it is written.

    The format is a line of JSON with the place of each tensor, followed by their bytes.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the bytes that follow begin at a multiple of 8
    with files.atomic_write(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            tensor = make(name).detach().to("cpu", dtype)
            assert tuple(tensor.shape) == shape, name
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
