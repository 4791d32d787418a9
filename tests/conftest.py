"""Fixtures shared by all tests: real texts read in place, a cache per test, one thread, GPT-2's weights."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No example fails for being slow, because these tests run on shared machines. Examples are the same in every run, so
# that only a change makes a test fail.
settings.register_profile("glassgpt", deadline=None, derandomize=True)
settings.load_profile("glassgpt")

# Tests do not depend on measurements: threads and precision are never chosen by a clock in a test, in this process or
# one that it starts, unless the choice is what is tested (see `measuring`). A test that forgot to name a precision
# once passed here and failed on a machine with fast bfloat16.
MEASURE = "GLASSGPT_MEASURE"
os.environ[MEASURE] = "off"

# Python's readline stores the size of the terminal there, and the workers of pytest-xdist inherit it.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# A shell that runs the tests in the background has them ignore Ctrl-C, `nohup` has them ignore a closed terminal, and
# so would every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

SHARED = Path(__file__).parents[2] / "shared"
CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def pytest_configure(config: pytest.Config) -> None:
    """Give each parallel worker, and everything it starts, its own share of the cores.

    If every worker computes on all cores, their threads mostly wait for each other in busy loops: the planning tests
    took five times the work that they take with one core each.
    """
    place = getattr(config, "workerinput", None)  # pytest-xdist's; None where there is one process
    if place is not None and CORES:
        number, count = int(place["workerid"].removeprefix("gw")), place["workercount"]
        cores = sorted(CORES)
        os.sched_setaffinity(0, cores[number::count] or {cores[number % len(cores)]})


@pytest.fixture
def all_cores() -> Iterator[None]:
    """Let this test use every core: it is about their number."""
    if not CORES:
        yield
        return
    share = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    yield
    os.sched_setaffinity(0, share)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real texts; skips the test if it is missing."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the folder of real texts, ../shared/data, is not on this machine")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiktoken_cache() -> Path:
    """The folder with GPT-2's vocabulary files as tiktoken caches them; skips the test if it is missing."""
    if not (SHARED / "tiktoken-cache").is_dir():
        pytest.skip("the folder ../shared/tiktoken-cache is not on this machine")
    return SHARED / "tiktoken-cache"


@pytest.fixture(autouse=True)
def isolated_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the download cache at a temporary folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GLASSGPT_CACHE", str(folder))
    return folder


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core, if torch is in use: with models this small, a second core is only waited for."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Every test computes on one core."""
    with _one_thread():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    """What several tests share is made on one core, too: it is made before `one_thread` of the first of them."""
    with _one_thread() if fixturedef.scope != "function" else contextlib.nullcontext():
        return (yield)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this test measure the machine: it is about the choice itself."""
    monkeypatch.delenv(MEASURE)


@pytest.fixture(scope="session")
def gpt2_as_ours() -> Callable[[Any], Any]:
    """A function from a `transformers.GPT2LMHeadModel` to our model with the same weights and dtype."""
    return _gpt2_as_ours


def _gpt2_as_ours(reference: Any) -> Any:
    from glassgpt.model.config import ModelConfig
    from glassgpt.model.gpt import GPT

    its, theirs = reference.config, reference.transformer.state_dict()
    model = GPT(
        ModelConfig(
            vocab_size=its.vocab_size, context_length=its.n_positions, n_layer=its.n_layer, n_head=its.n_head,
            n_embd=its.n_embd, positions="learned", norm="layernorm", norm_epsilon=1e-5, activation="gelu_tanh",
            qk_norm=False, qkv_bias=True, attention_bias=True, mlp_bias=True, norm_bias=True,
        )
    )  # fmt: skip
    parts = {"attention_norm": "ln_1", "attention.qkv": "attn.c_attn", "attention.output": "attn.c_proj",
             "mlp_norm": "ln_2", "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}  # fmt: skip
    weights = {"token_embedding.weight": theirs["wte.weight"], "position_embedding.weight": theirs["wpe.weight"],
               "final_norm.weight": theirs["ln_f.weight"], "final_norm.bias": theirs["ln_f.bias"]}  # fmt: skip
    for layer in range(its.n_layer):
        for ours, name in parts.items():
            matrix, bias = (theirs[f"h.{layer}.{name}.{kind}"] for kind in ("weight", "bias"))
            # GPT-2's linear layers store their matrices transposed.
            weights[f"blocks.{layer}.{ours}.weight"] = matrix.T if matrix.dim() == 2 else matrix
            weights[f"blocks.{layer}.{ours}.bias"] = bias
    model.load_state_dict(weights)
    return model.to(theirs["wte.weight"].dtype).eval()
