"""Weights are read and written one tensor at a time, and the library reads what was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from glassgpt.errors import InteropError
from glassgpt.interop.tensors import TensorFiles, write_tensors

SHAPES = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).filter(
        lambda n: n != "__metadata__"
    ),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    max_size=5,
)


@given(SHAPES, st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_the_library_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict, dtype: torch.dtype
) -> None:
    path = tmp_path_factory.mktemp("tensors") / "weights.safetensors"
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    write_tensors(path, shapes, tensors.__getitem__, dtype=dtype)
    read = load_file(path)
    assert set(read) == set(tensors)
    for name, tensor in read.items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, tensors[name].to(dtype))


def test_transposed_tensors_are_written_as_they_look(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    write_tensors(tmp_path / "w", {"a": (3, 2)}, lambda _: matrix.T)
    assert torch.equal(load_file(tmp_path / "w")["a"], matrix.T)


def test_several_files_are_read_as_one_and_in_float32(tmp_path: Path) -> None:
    first, second = {"a": torch.randn(2, 3).half()}, {"b": torch.randn(4).bfloat16()}
    save_file(first, tmp_path / "1")
    save_file(second, tmp_path / "2")
    tensors = TensorFiles([tmp_path / "1", tmp_path / "2"])
    assert tensors.shapes == {"a": (2, 3), "b": (4,)}
    assert torch.equal(tensors.read("a"), first["a"].float())
    assert torch.equal(tensors.read("b"), second["b"].float())


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    save_file({"a": torch.randn(50)}, tmp_path / "w")
    (tmp_path / "w").write_bytes((tmp_path / "w").read_bytes()[:keep])
    with pytest.raises(InteropError, match="truncated"):
        TensorFiles([tmp_path / "w"])
