"""Hooks on a model and changes of its parts take effect from the next token on, recorded or not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from glassgpt.generation.decoder import Decoder
from glassgpt.generation.outline import Outline
from glassgpt.model.gpt import GPT

Make = Callable[..., GPT]
RECORD_AFTER = 8  # steps, for 256 of them would be nearly all the work of these tests


class Steps:
    """A decoder and one that never records, which take the same steps."""

    def __init__(self, model: GPT) -> None:
        self.both = [Decoder(model, 1, record_after=steps) for steps in (RECORD_AFTER, None)]
        with torch.inference_mode():
            for decoder in self.both:
                decoder.fill([0], [[1, 2, 3]])

    def take(self, count: int) -> torch.Tensor:
        """Take steps, each checked against the other decoder; return the last logits."""
        with torch.inference_mode():
            for number in range(count):
                logits, expected = (one.step([number * 5 % 31], [3 + number % 8]) for one in self.both)
                torch.testing.assert_close(logits, expected)
        return logits

    @property
    def recorded(self) -> bool:
        return isinstance(self.both[0]._next_step(), torch.jit.ScriptModule)


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
@pytest.mark.parametrize("steps", [5, RECORD_AFTER + 5])
def test_a_hook_is_heard_before_and_after_the_step_is_recorded(hook: Any, steps: int, make: Make) -> None:
    """After some steps a recording was replayed, and a hook registered then had no effect."""
    model = make()
    together = Steps(model)
    together.take(steps)
    assert together.recorded == (steps > RECORD_AFTER)
    plain = together.take(3)
    handle = hook(model)
    try:
        assert not torch.equal(together.take(3), plain)
        assert not together.recorded
    finally:
        handle.remove()
    assert torch.equal(together.take(3), plain)
    together.take(RECORD_AFTER)
    assert together.recorded


def test_a_hook_sees_each_step(make: Make) -> None:
    model, seen = make(), []
    together = Steps(model)
    together.take(RECORD_AFTER + 5)
    with torch.inference_mode():
        model.blocks[1].register_forward_hook(lambda *_: seen.append(1))
        together.both[0].step([1], [4])
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
    model = make()
    together = Steps(model)
    plain = together.take(RECORD_AFTER + 3)
    assert together.recorded
    change(model)
    assert not torch.equal(together.take(RECORD_AFTER + 3), plain)
    assert together.recorded


def test_a_look_holds_no_model(make: Make) -> None:
    model = make()
    held, outline = weakref.ref(model), Outline(model)
    del model
    gc.collect()
    assert held() is None
    assert not outline.is_watched()
