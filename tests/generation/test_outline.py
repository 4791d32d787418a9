"""Hooks on a model and changes of its parts take effect from the next token on, whichever engine writes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from glassgpt.generation.engine import generate_ids
from glassgpt.generation.outline import Outline
from glassgpt.generation.requests import Request
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.scheduler import Scheduler
from glassgpt.model.gpt import GPT

pytest.importorskip("numba", reason="needs numba (the extra `fast`)")

Make = Callable[..., GPT]
STEPS = 8
MANY = 40


class Both:
    """A text that the loops write and the same with torch, which take the same steps."""

    def __init__(self, model: GPT) -> None:
        self._both = [Scheduler(model, engine=engine) for engine in ("loops", "torch")]
        for scheduler in self._both:
            scheduler.add(Request([1, 2, 3], SamplingConfig(temperature=0), likeliest=MANY))

    def take(self, count: int) -> list[dict[int, float]]:
        """Take steps, each checked against torch; return the log-probabilities of all ids."""
        found = []
        for _ in range(count):
            (ours,), (theirs,) = (scheduler.step() for scheduler in self._both)
            assert ours.chosen is not None
            assert theirs.chosen is not None
            found.append(dict(ours.chosen.likeliest))
            assert found[-1] == pytest.approx(dict(theirs.chosen.likeliest), abs=1e-4)
        return found

    @property
    def is_loops(self) -> bool:
        chooser = self._both[0]._chooser
        return chooser is not None and chooser.is_loops


def double(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return 2 * output


def double_input(module: nn.Module, inputs: Any) -> Any:
    return (2 * inputs[0], *inputs[1:])


HOOKS: dict[str, Callable[[GPT], Any]] = {
    "after a linear map": lambda model: model.blocks[0].mlp.up.register_forward_hook(double),
    "before a linear map": lambda model: model.blocks[1].attention.qkv.register_forward_pre_hook(
        double_input
    ),
    "after the last norm": lambda model: model.final_norm.register_forward_hook(double),
    "after every module": lambda model: nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: 2 * output if module is model.blocks[0].mlp else None
    ),
    "before every module": lambda model: nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: double_input(module, inputs) if module is model.final_norm else None
    ),
}


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_a_hook_is_heard_while_it_is_there(hook: Any, make: Make) -> None:
    """After some steps a recording was replayed, and a hook registered then had no effect."""
    model = make().float()
    together = Both(model)
    together.take(STEPS)
    assert together.is_loops
    handle = hook(model)
    try:
        together.take(3)
        assert not together.is_loops
    finally:
        handle.remove()
    together.take(STEPS)
    assert together.is_loops


def test_a_hook_sees_each_step(make: Make) -> None:
    model, seen = make().float(), []
    written = generate_ids(model, [1], SamplingConfig(temperature=0), engine="loops")
    before = [next(written) for _ in range(3)]
    model.blocks[1].register_forward_hook(lambda *_: seen.append(1))
    next(written)
    assert len(before) == 3
    assert seen == [1]


CHANGES: dict[str, Callable[[GPT], Any]] = {
    "a module": lambda model: setattr(model.blocks[0], "mlp", nn.Identity()),
    "a linear map": lambda model: setattr(model.blocks[0].mlp, "down", nn.Linear(48, 16).double()),
    "a block": lambda model: model.blocks.__setitem__(1, make_other(model).blocks[1]),
    "a block that leaves": lambda model: model.blocks.__delitem__(0),
    "a parameter": lambda model: setattr(
        model.final_norm, "weight", nn.Parameter(3 * model.final_norm.weight.detach())
    ),
    "a head of its own": lambda model: setattr(model, "head", nn.Linear(16, 31).double()),
    "numbers in place": lambda model: model.final_norm.weight.data.mul_(3),
    "numbers of a parameter": lambda model: setattr(
        model.final_norm.weight, "data", 3 * model.final_norm.weight.detach()
    ),
}


def make_other(model: GPT) -> GPT:
    torch.manual_seed(5)
    return GPT(model.config).double().eval()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_part_that_is_exchanged_computes_from_the_next_step_on(change: Any, make: Make) -> None:
    model = make().float()
    ids = generate_ids(model, [1, 2], SamplingConfig(temperature=0), engine="loops")
    text = [1, 2, *(next(ids)[0] for _ in range(STEPS))]
    change(model)
    model.float()
    plain = generate_ids(model, text, SamplingConfig(temperature=0), use_cache=False)
    more = [next(ids)[0] for _ in range(12)]  # past the window, so all of it is read again
    expected = [next(plain)[0] for _ in range(12)]
    assert more[-6:] == expected[-6:]


def test_a_look_holds_no_model(make: Make) -> None:
    model = make()
    held, outline = weakref.ref(model), Outline(model)
    del model
    gc.collect()
    assert held() is None
    assert not outline.is_watched()
