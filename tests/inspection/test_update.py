"""One update, against the same update written out, for all kinds of model and several optimizers."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Optimizer

from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import add_lora
from glassgpt.errors import InspectionError
from glassgpt.inspection import update
from glassgpt.inspection.seen import losses
from glassgpt.inspection.update import Change, one_update
from glassgpt.model.gpt import GPT
from glassgpt.model.stored import halve
from glassgpt.runs.opening import Run
from glassgpt.training.config import LoopConfig
from glassgpt.training.optimizers import make_optimizer
from tests.inspection.conftest import IDS, model_of

ROWS = [IDS, [7, 2, 0, 9, 9, 22, 1, 4, 13, 6], [5] * 10]


def sgd(rate: float, **other: Any) -> Callable[[GPT], Optimizer]:
    return lambda model: SGD([w for w in model.parameters() if w.requires_grad], lr=rate, **other)


def loss_of(model: GPT) -> Tensor:
    rows = torch.tensor(ROWS)
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


def stepped(model: GPT, build: Callable[[GPT], Optimizer], clip: float = math.inf) -> tuple[Any, ...]:
    """The same update written out: gradients, changes, and the loss before and after."""
    model = copy.deepcopy(model).requires_grad_(True)
    optimizer = build(model)
    loss = loss_of(model)
    loss.backward()
    gradients = {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
    }
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    changes = {name: weight.detach() - before[name] for name, weight in model.named_parameters()}
    return before, gradients, changes, loss.item(), loss_of(model).item()


def by_hand(name: str, before: list[Tensor], gradients: list[Tensor], changes: list[Tensor]) -> Change:
    w, g, d = (
        torch.cat([part.double().flatten() for part in parts]) for parts in (before, gradients, changes)
    )
    size = [float(x.norm()) for x in (w, g, d)]
    relative = size[2] / size[0] if size[0] else None
    cosine = float(F.cosine_similarity(-g, d, dim=0, eps=0)) if size[1] and size[2] else None
    return Change(name, len(w), *size, relative, cosine, float((g * d).sum()))


def assert_same(found: Change, expected: Change) -> None:
    assert (found.name, found.numbers) == (expected.name, expected.numbers)
    for name in ("weight", "gradient", "change", "relative", "cosine", "predicted"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a == (None if b is None else pytest.approx(b, rel=1e-4, abs=1e-9)), name


def group(name: str) -> str:
    return name[: len("blocks.0")] if name.startswith("blocks.") else name.split(".")[0]


BUILDS: dict[str, Callable[[GPT], Optimizer]] = {
    "sgd": sgd(0.1),
    "decaying": sgd(0.1, weight_decay=0.5),
    "adamw": lambda model: make_optimizer(model, LoopConfig(learning_rate=3e-3)),
    "muon": lambda model: make_optimizer(model, LoopConfig(optimizer="muon")),
}


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("clip", [0.0, 0.25])
def test_every_number_is_that_of_the_update_written_out(
    model: GPT, name: str, clip: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "NUMBERS_AT_ONCE", 100)  # so that weights are several parts
    model.double()
    found = one_update(model, ROWS, build=BUILDS[name], clip=clip)
    before, gradients, changes, loss, after = stepped(model, BUILDS[name], clip or math.inf)
    assert (found.loss_before, found.loss_after) == pytest.approx((loss, after), rel=1e-6)
    assert found.loss_change == found.loss_after - found.loss_before
    assert [one.name for one in found.weights] == list(before)
    for one in found.weights:
        assert_same(one, by_hand(one.name, [before[one.name]], [gradients[one.name]], [changes[one.name]]))
    names = list(dict.fromkeys(map(group, before)))
    assert [one.name for one in found.blocks] == names
    for one in found.blocks:
        own = [weight for weight in before if group(weight) == one.name]
        parts = [[numbers[weight] for weight in own] for numbers in (before, gradients, changes)]
        assert_same(one, by_hand(one.name, *parts))
    assert_same(found.whole, by_hand("model", *(list(x.values()) for x in (before, gradients, changes))))
    assert found.whole.predicted == pytest.approx(sum(one.predicted for one in found.weights))


def test_plain_descent_goes_down_the_gradient(model: GPT) -> None:
    """Change = -lr g: cosine 1, the change lr times as long, the prediction -lr |g|²."""
    found = one_update(model.double(), ROWS, build=sgd(0.05))
    for one in (*found.weights, *found.blocks, found.whole):
        if one.gradient:
            assert one.cosine == pytest.approx(1, abs=1e-9)
        assert one.change == pytest.approx(0.05 * one.gradient)
        assert one.predicted == pytest.approx(-0.05 * one.gradient**2)


def test_the_gradient_is_that_of_finite_differences() -> None:
    """Against a slope that needs no autograd: the loss a little further along the gradient."""
    model = model_of("gpt2").double()
    found = one_update(model, ROWS, build=sgd(1e-6))
    slope = found.loss_change / -1e-6
    assert slope == pytest.approx(found.whole.gradient**2, rel=1e-4)


def test_the_prediction_tends_to_the_real_change(model: GPT) -> None:
    """The first-order error falls with the square of the rate: a tenth of the rate, a hundredth of the error."""
    model.double()
    errors = []
    for rate in (1e-4, 1e-5, 1e-6):
        found = one_update(model, ROWS, build=sgd(rate))
        errors.append(abs(found.loss_change - found.whole.predicted))
        ratio = found.loss_change / found.whole.predicted
    assert ratio == pytest.approx(1, abs=1e-3)
    for error, smaller in itertools.pairwise(errors):
        assert smaller / error == pytest.approx(0.01, rel=0.1)


def test_the_usual_optimizer_is_adamw_whose_first_step_is_the_sign_of_the_gradient() -> None:
    """Adam's first step is lr g / (|g| + epsilon): lr for every number whose gradient is not tiny."""
    model = model_of("usual").double()
    for rate, found in ((1e-3, one_update(model, ROWS)), (0.02, one_update(model, ROWS, learning_rate=0.02))):
        for one in found.weights:
            assert one.change == pytest.approx(rate * math.sqrt(one.numbers), rel=1e-2)
        expected = stepped(model, partial(plain_adamw, rate))
        assert found.loss_after == pytest.approx(expected[-1], rel=1e-6)


def plain_adamw(rate: float, model: GPT) -> Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0)


def test_a_rate_replaces_that_of_the_settings_and_keeps_their_proportions() -> None:
    """Muon's matrices have their own rate, in proportion to the one of AdamW."""
    model = model_of("usual")
    config = LoopConfig(optimizer="muon", learning_rate=1e-3, matrix_learning_rate=0.02)
    build = lambda model: make_optimizer(model, config)  # noqa: E731
    whole, half = (
        one_update(model, ROWS, build=build),
        one_update(model, ROWS, build=build, learning_rate=5e-4),
    )
    matrices = [one.name for one in whole.weights if one.name.endswith("mlp.up.weight")]
    assert len(matrices) == 3
    for one, other in zip(whole.weights, half.weights, strict=True):
        if one.name in matrices:
            assert other.change == pytest.approx(one.change / 2, rel=1e-3)


def test_the_model_stays_as_it_is_gradients_included(model: GPT) -> None:
    model.requires_grad_(True)
    (model.token_embedding.weight * 2).sum().backward()
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    model.train()
    for build in (None, sgd(10.0, weight_decay=1.0)):
        one_update(model, ROWS, build=build, clip=0.1)
    assert model.training
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name])
        if name == "token_embedding.weight":
            assert (weight.grad == 2).all()
        else:
            assert weight.grad is None
    assert one_update(model, ROWS) == one_update(copy.deepcopy(model), ROWS)  # old gradients do not count


def test_the_optimizer_of_a_run_is_built_from_its_own_settings(run: Run) -> None:
    """As in training, where the first update is at the settings' rate; and a small step lowers the loss."""
    settings, rows = run.config.training, [run.prompt_ids("Once upon a time there was a little dog.")[:12]]
    found = one_update(
        run.model, rows, build=lambda model: make_optimizer(model, settings), clip=settings.clip
    )
    assert found.loss_before == pytest.approx(float(losses(run.model, rows[0]).mean()), rel=1e-5)
    assert found.loss_change < 0
    expected = {name: weight.numel() for name, weight in run.model.named_parameters()}
    assert {one.name: one.numbers for one in found.weights} == expected
    assert found.whole.numbers == run.model.num_parameters()


def test_dropout_is_off_and_gradients_may_be_switched_off_outside() -> None:
    model = model_of("gpt2", dropout=0.5).train()
    first = one_update(model, ROWS)
    with torch.inference_mode():
        assert one_update(model, ROWS) == first
    with torch.no_grad():
        assert one_update(model, ROWS) == first


def test_frozen_weights_stay_and_are_not_listed() -> None:
    model = model_of("usual")
    model.blocks[1].mlp.requires_grad_(True)
    found = one_update(model, ROWS, build=sgd(0.1))
    assert {one.name for one in found.weights} == {f"blocks.1.mlp.{x}.weight" for x in ("gate", "up", "down")}
    assert [one.name for one in found.blocks] == ["blocks.1"]
    corrected = add_lora(model_of("usual"), LoRAConfig(rank=2))
    found = one_update(corrected, ROWS, build=sgd(0.1))
    assert all(".up." in one.name or ".down." in one.name for one in found.weights)
    ups = [one for one in found.weights if one.name.split(".")[-2] == "up"]
    assert ups
    assert all((one.weight, one.relative) == (0, None) for one in ups)  # all zeros at first


def test_weights_that_the_optimizer_leaves_out_do_not_change() -> None:
    model = model_of("usual")
    found = one_update(model, ROWS, build=lambda model: SGD(model.blocks[0].parameters(), lr=0.1))
    for one in found.weights:
        assert (one.change > 0) == one.name.startswith("blocks.0")
        assert (one.cosine is None) != one.name.startswith("blocks.0")
        assert one.gradient > 0


def test_weights_in_16_bits_are_updated_in_float32() -> None:
    """In bfloat16 a change of a thousandth of a weight would mostly be rounded away."""
    model = model_of("usual").bfloat16()
    found = one_update(model, ROWS, learning_rate=1e-4)
    exact = one_update(copy.deepcopy(model).float(), ROWS, learning_rate=1e-4)
    assert found == exact
    assert model.token_embedding.weight.dtype == torch.bfloat16


def test_a_row_may_be_one_longer_than_the_context() -> None:
    model = model_of("usual")
    assert one_update(model, [[1, 2] * 8 + [1]]).loss_before > 0
    with pytest.raises(InspectionError, match="from 2 to 17 tokens, and these have 18 tokens"):
        one_update(model, [[1] * 18])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "these have no tokens"),
        ([[1]], "these have 1 tokens"),
        ([[1, 2, 3], [1, 2]], "these have 2 or 3 tokens"),
        ([[1, 23]], "id 23 is outside the vocabulary"),
        ([[-1, 2]], "id -1 is outside the vocabulary"),
    ],
)
def test_batches_that_cannot_be_are_named(rows: list[list[int]], message: str) -> None:
    with pytest.raises(InspectionError, match=message):
        one_update(model_of("usual"), rows)


def test_models_and_settings_that_cannot_be_are_named() -> None:
    for settings, message in (
        ({"learning_rate": 0.0}, "learning_rate"), ({"learning_rate": math.nan}, "learning_rate"),
        ({"clip": -1.0}, "clip"),
    ):  # fmt: skip
        with pytest.raises(InspectionError, match=message):
            one_update(model_of("usual"), ROWS, **settings)
    with pytest.raises(InspectionError, match="Open the run with its weights as saved"):
        one_update(halve(model_of("usual")), ROWS)
    broken = model_of("usual")
    broken.blocks[0].mlp.up.weight[0, 0] = math.nan
    with pytest.raises(InspectionError, match="loss is nan"):
        one_update(broken, ROWS)
