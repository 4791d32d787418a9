"""Which engine writes: torch until the loops are loaded, and wherever they cannot be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from glassgpt.errors import MissingExtraError
from glassgpt.generation import engines
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.requests import Request
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.scheduler import Scheduler
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating

GREEDY = SamplingConfig(temperature=0)


@pytest.fixture(autouse=True)
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has written nothing yet."""
    monkeypatch.setattr(engines, "_LOADING", engines._Loading())
    monkeypatch.setattr(engines, "LOAD_AFTER", 5)
    monkeypatch.setattr(engines, "LOAD_AFTER_SECONDS", 1e9)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    model = GPT(ModelConfig(vocab_size=61, context_length=32, n_layer=2, n_head=4, n_embd=32))
    for weight in model.requires_grad_(False).parameters():
        weight.add_(torch.randn_like(weight) * 0.3)
    return model


def test_loading_the_loops_does_not_load_torchs_compiler() -> None:
    """A model on the meta device did, for numbers that nobody used: two seconds in which no token was written."""
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    code = """
import sys
from glassgpt.generation.loop_engine import compile_step
compile_step()
sys.exit(any(name in sys.modules for name in ("torch._dynamo", "sympy")))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_may_end_while_the_loops_are_loading() -> None:
    """It was aborted when the thread was called by torch's code at that moment: "terminate called without ..."."""
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    code = """
import threading, time
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from glassgpt.generation import engines, loop_engine
inside = threading.Event()
class Slow(TorchDispatchMode):
    def __torch_dispatch__(self, *_):
        inside.set()
        time.sleep(0.5)
        print("loaded", flush=True)
        raise KeyError
def compile_step(until):
    with Slow():
        torch.zeros(1)
loop_engine.is_compiled, loop_engine.compile_step = lambda: True, compile_step
engines.begin_loading()
inside.wait(60)
print("end", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "end\nloaded\n"), done.stderr


def test_a_process_may_end_while_the_loops_are_compiled_elsewhere(tmp_path: Path) -> None:
    """It does not wait for that."""
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    code = """
import time
from glassgpt.generation import engines, loop_engine
loop_engine.is_compiled = lambda: False
began = time.monotonic()
engines.begin_loading()
time.sleep(0.5)
"""
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    code = f"import sys\nsys.executable = {str(slow)!r}\n{code}"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=40).returncode == 0


def test_a_text_changes_over_when_the_loops_are_loaded(model: GPT) -> None:
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    plain = generate_ids(model, [1, 2], GREEDY)
    expected, found, kinds = [next(plain)[0] for _ in range(100)], [], []
    with evaluating(model):
        scheduler = Scheduler(model, engine="auto")
        scheduler.add(Request([1, 2], GREEDY))
        for step in range(100):
            found.append(scheduler.step()[0].id)
            kinds.append(type(scheduler._decoder).__name__)
            if step == 20:
                thread = engines._LOADING.thread
                assert thread is not None
                thread.join(60)
    assert found == expected
    assert kinds[0] == "Decoder"
    assert set(kinds[21:]) == {"LoopDecoder"}


def test_a_short_text_loads_nothing(model: GPT) -> None:
    ids = generate_ids(model, [1], GREEDY, engine="auto")
    assert len([next(ids) for _ in range(5)]) == 5
    assert engines._LOADING.thread is None


def test_a_large_model_is_not_kept_waiting_for_many_steps(
    model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 steps of 124M took 11 seconds."""
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    monkeypatch.setattr(engines, "LOAD_AFTER_SECONDS", 0.0)
    ids = generate_ids(model, [1], GREEDY, engine="auto")
    assert len([next(ids) for _ in range(4)]) == 4
    assert engines._LOADING.thread is not None


def test_without_numba_torch_writes(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "has_numba", lambda: False)
    monkeypatch.setitem(sys.modules, "numba", None)
    ids = generate_ids(model, [1], GREEDY, engine="auto")
    assert len([next(ids) for _ in range(20)]) == 20
    assert engines._LOADING.thread is None
    with pytest.raises(MissingExtraError, match=r"pip install 'glassgpt\[fast\]'"):
        next(generate_ids(model, [1], GREEDY, engine="loops"))


def test_loops_that_cannot_be_compiled_are_told_and_torch_writes(
    model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    from glassgpt.generation import loop_engine

    def fail(**_: object) -> None:
        raise OSError("no such instruction")

    monkeypatch.setattr(loop_engine, "compile_step", fail)
    with pytest.raises(MissingExtraError, match="no such instruction"):
        next(generate_ids(model, [1], GREEDY, engine="loops"))
    ids = generate_ids(model, [1], GREEDY, engine="auto")
    assert len([next(ids) for _ in range(20)]) == 20


def test_a_model_that_the_loops_lack_parts_of_is_written_by_torch(model: GPT) -> None:
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    model.blocks[0].get_submodule("mlp").up.__class__ = type("Mine", (nn.Linear,), {})
    with evaluating(model):
        scheduler = Scheduler(model, engine="loops")
        scheduler.add(Request([1, 2], GREEDY))
        scheduler.step()
        assert type(scheduler._decoder).__name__ == "Decoder"


@pytest.mark.parametrize("loops", [True, False])
def test_steady_is_decided_before_the_first_token(
    model: GPT, loops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text every time: a text that changed over at some moment could differ by rounding."""
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    if not loops:
        monkeypatch.setattr(engines, "has_numba", lambda: False)
    kinds = []
    for writes in (model, model, GPT(model.config).double().eval()):
        scheduler = Scheduler(writes, engine="steady")
        scheduler.add(Request([1, 2], GREEDY, max_tokens=3))
        while scheduler.busy:
            scheduler.step()
            kinds.append(type(scheduler._decoder).__name__)
    assert kinds == ["LoopDecoder" if loops else "Decoder"] * 6 + ["Decoder"] * 3


def test_loading_the_loops_draws_no_random_numbers() -> None:
    """It happens in a thread, beside whatever draws from torch's generator at that moment."""
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    from glassgpt.generation.loop_engine import compile_step

    before = torch.get_rng_state()
    compile_step()
    assert torch.equal(torch.get_rng_state(), before)
