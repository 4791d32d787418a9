"""Devices by name, dtypes, threads, ranks from the environment, seeds for all generators."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from glassgpt import device as devices
from glassgpt.device import (
    World,
    available_cores,
    can_compile,
    dtype_of,
    machine_facts,
    pick_device,
    seed_everything,
    set_threads,
    threads_set,
    world_from_environment,
)
from glassgpt.errors import ConfigError

CPU = torch.device("cpu")


def test_a_decided_precision_is_a_dtype():
    assert dtype_of("bfloat16") == torch.bfloat16
    assert dtype_of("float32") == dtype_of("auto") == torch.float32


def test_threads_are_set_for_a_block_and_put_back():
    before = torch.get_num_threads()
    with threads_set(before + 1):
        assert torch.get_num_threads() == before + 1
        with threads_set(0):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError), threads_set(before + 1):
        raise RuntimeError("from inside")
    assert torch.get_num_threads() == before


def test_auto_takes_the_best_device_there_is():
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device("auto").type == best
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "", "cpu ", "cuda:x", "meta", "xla", "vulkan"])
def test_a_device_that_nobody_trains_on_is_refused(name: str):
    """torch knows the names `meta` and `xla`: they were once accepted, and failed much later."""
    with pytest.raises(ConfigError, match="There is no device called") as caught:
        pick_device(name)
    assert repr(name) in str(caught.value)
    assert "auto, cpu, cuda" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_cuda_is_said():
    with pytest.raises(ConfigError, match=r"no CUDA device.*--device cpu"):
        pick_device("cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_a_missing_mps_is_said():
    with pytest.raises(ConfigError, match=r"no MPS device.*--device cpu"):
        pick_device("mps")


def test_each_rank_takes_its_own_cuda_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("auto", World(3, 4, local_rank=1)) == torch.device("cuda:1")
    for name, world in (("cuda:2", None), ("cuda", World(2, 4, local_rank=2))):
        with pytest.raises(ConfigError, match=r"There is no cuda:2.*this machine has 2"):
            pick_device(name, world)


def test_the_world_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert world_from_environment() == World(0, 1, 0)
    assert world_from_environment().is_main
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert world_from_environment() == World(5, 8, 1)
    assert not world_from_environment().is_main


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("0", "0"), ("one", "2"), ("0", "1.5")])
def test_a_world_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, rank: str, size: str):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ConfigError, match="RANK"):
        world_from_environment()


@pytest.mark.parametrize("seed", [0, 1337, 2**63 - 1])
def test_one_seed_repeats_every_generator(seed: int):
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), torch.rand(()).item()  # noqa: NPY002

    seed_everything(seed)
    first = draw()
    seed_everything(seed)
    assert draw() == first
    seed_everything(seed // 2 + 1)
    assert all(new != old for new, old in zip(draw(), first, strict=True))


def test_threads_are_set_and_counted(all_cores: None):
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == 1 == torch.get_num_threads()
        assert set_threads(0) == available_cores() >= 1
    finally:
        torch.set_num_threads(before)


def test_machine_facts_tell_the_versions():
    facts = machine_facts()
    assert facts["torch"] == torch.__version__
    assert facts["cores"] == available_cores()
    assert facts["glassgpt"] == devices.__version__


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not can_compile(CPU)
    (tmp_path / "g++").touch(mode=0o755)
    assert can_compile(CPU)


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not"),
        ({"WORLD_SIZE": "1"}, "RANK is not"),
        ({"RANK": "0"}, "WORLD_SIZE is not"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "MASTER_ADDR, MASTER_PORT are not"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"},
            "MASTER_PORT is not",
        ),
    ],
)
def test_an_incomplete_environment_is_refused(
    variables: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WORLD_SIZE without RANK once made each process the first of two, and all of them waited for the second."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=missing):
        world_from_environment()
