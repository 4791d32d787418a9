"""Reads what `torch.save(model.state_dict(), FILE)` wrote, also from untrusted sources.

torch reads the file with `weights_only`, which builds tensors and runs no code; anything else in it is refused. The
stated sizes are compared with the real ones before memory is taken: a few bytes can promise a tensor of any size.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from glassgpt.architectures.stated import Count
from glassgpt.architectures.wrapping import unwrap
from glassgpt.errors import InteropError
from glassgpt.interop.tensors import refuse_kind, refuse_pointer

INSIDE = ("model", "state_dict", "model_state_dict")
"""The key of the weights in a training checkpoint that holds other things, too."""
KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
MOST_SHARED = 4
"""How many times larger than its file the tensors may be: some share their numbers, such as a tied head."""


class Told(msgspec.Struct, frozen=True):
    """What a training checkpoint states about its model beside the weights."""

    n_head: Count | None = None


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], Told]:
    """Return the tensors of a file by name, without wrappers in the names, and what it states about the model.

    Raises `InteropError` when it holds anything that would have to be unpickled, or is not such a file.
    """
    if not path.is_file():
        raise InteropError(f"There is no file {path}.")
    refuse_pointer(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_archive(path))
    except InteropError:
        raise
    except Exception as error:  # torch and its unpickler may raise anything
        raise InteropError(
            f"{path} does not hold plain weights: it is damaged, or a whole pickled model, which can run any code when "
            "it is opened. In the notebook that made it, save the weights alone:  "
            'torch.save(model.state_dict(), "model.pth")'
        ) from error
    told = Told()
    for key in INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            told = _told(content.get("model_args"), content.get("config"))
            content = content[key]
    if not _is_plain(content):
        raise InteropError(
            f'{path} holds no `state_dict`. Write one with  torch.save(model.state_dict(), "model.pth")'
        )
    return {plain: content[given] for plain, given in unwrap(content).items()}, told


def refuse_promised(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise `InteropError` when tensors are not plain numbers, or need more bytes than the file can hold."""
    size = 0
    for name, tensor in weights.items():
        plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized:
            raise InteropError(f"{name} is not stored as plain numbers, as the weights of a model are.")
        refuse_kind(name, KINDS.get(tensor.dtype, str(tensor.dtype)))
        size += tensor.numel() * tensor.element_size()
    there = path.stat().st_size
    if size > MOST_SHARED * there:
        raise InteropError(
            f"{path} has {there:,} bytes, but its tensors would take {size:,}: it promises numbers that are not there. "
            "Get it again, from somebody you trust."
        )


def _told(*places: object) -> Told:
    for place in places:
        if isinstance(place, dict) and place:
            with contextlib.suppress(msgspec.ValidationError):  # it belongs to something else
                return msgspec.convert(place, Told)
    return Told()


def _is_plain(content: object) -> bool:
    """Return whether it is a table of tensors by name."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def _is_archive(path: Path) -> bool:
    """Return whether it is torch's current format, which need not be read all at once.

    Raises `InteropError` when it is an archive that would be larger unpacked: torch compresses nothing.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            return False
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    if packed or unpacked > path.stat().st_size:
        raise InteropError(
            f"{path} is a compressed archive, which torch.save does not write. Unpack it, and import what is in it; do "
            "that only where you trust it."
        )
    return True
