"""A model without a part is one whose weights were edited by hand, in all that it computes."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glassgpt.errors import InspectionError
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.inspection import ablation
from glassgpt.inspection.ablation import By, Part, effects, without
from glassgpt.inspection.seen import losses, seen
from glassgpt.model.attend import fused
from glassgpt.model.gpt import GPT
from tests.inspection.conftest import IDS, model_of
from tests.inspection.test_heads import copier

OTHER = [2, 7, 1, 8, 2, 8]
"""A text that means are taken over."""
ROWS = torch.tensor([IDS, IDS[::-1]])
PARTS = [Part("head", 1, 2), Part("attention", 0), Part("mlp", 2), Part("block", 1)]


def named(*parts: Part) -> dict[str, list[Any]]:
    """The arguments of `without` that remove some parts."""
    arguments: dict[str, list[Any]] = {}
    for part in parts:
        removed = part.layer if part.head is None else (part.layer, part.head)
        arguments.setdefault(part.kind + "s", []).append(removed)
    return arguments


def edited(model: GPT, *parts: Part, over: list[int] | None = None) -> GPT:
    """A copy of the model whose weights give zero for some parts, or their means over a text."""
    found = copy.deepcopy(model)
    for part in parts:
        block, whole = found.blocks[part.layer], model.blocks[part.layer]
        at = seen(model, over or IDS, f"blocks.{part.layer}.*")
        at = {name.rpartition(".")[2]: value.mean(-2) * (over is not None) for name, value in at.items()}
        if part.kind == "head":
            width = model.config.head_dim
            columns = slice(part.head * width, (part.head + 1) * width)
            add(block.attention.output, whole.attention.output.weight[:, columns] @ at["heads"][part.head])
            block.attention.output.weight[:, columns] = 0
        if part.kind == "attention":
            gives(block.attention.output, at["attention"])
        if part.kind == "mlp":
            gives(block.mlp.down, at["mlp"])
        if part.kind == "block":
            gives(block.attention.output, torch.zeros(model.config.n_embd))
            gives(block.mlp.down, at["attention"] + at["mlp"])
    return found


def add(linear: nn.Linear, vector: Tensor) -> None:
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    linear.bias = nn.Parameter(bias + vector, requires_grad=False)


def gives(linear: nn.Linear, vector: Tensor) -> None:
    linear.weight.zero_()
    linear.bias = nn.Parameter(vector.clone(), requires_grad=False)


def written(model: GPT, *, use_cache: bool) -> list[int]:
    """More ids than the context holds, so that the window moves once."""
    ids = generate_ids(model, IDS, SamplingConfig(temperature=0), use_cache=use_cache)
    return [id for step in itertools.islice(ids, 12) for id in step]


@pytest.mark.parametrize("by", ["zero", "mean"])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.kind)
def test_a_removed_part_is_one_whose_weights_are_edited(model: GPT, part: Part, by: By) -> None:
    over = OTHER if by == "mean" else None
    whole, expected = model(ROWS), edited(model, part, over=over)(ROWS)
    with without(model, **named(part), by=by, over=over):
        torch.testing.assert_close(model(ROWS), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(model(ROWS), whole)
    assert not torch.allclose(whole, expected, atol=0.01)


@pytest.mark.parametrize("by", ["zero", "mean"])
def test_generation_writes_the_text_of_the_edited_model(model: GPT, by: By) -> None:
    """With the cache each step has one token; without it, the whole text is read again."""
    over = OTHER if by == "mean" else None
    parts = [Part("head", 0, 1), Part("mlp", 1), Part("block", 2)]
    expected = written(edited(model, *parts, over=over), use_cache=True)
    with without(model, **named(*parts), by=by, over=over):
        assert written(model, use_cache=True) == expected
        assert written(model, use_cache=False) == expected
    assert written(model, use_cache=True) != expected


def test_parts_add_up_and_calls_nest(model: GPT) -> None:
    heads = [Part("head", 1, 0), Part("head", 1, 3)]
    expected = edited(model, *heads, Part("mlp", 0), Part("block", 2))(ROWS)
    with without(model, heads=[(1, 0), (1, 3)], mlps=[0], blocks=[2]):
        torch.testing.assert_close(model(ROWS), expected, rtol=1e-4, atol=1e-4)
    with (
        without(model, heads=[(1, 3)]),
        without(model, blocks=[2]),
        without(model, mlps=[0], heads=[(1, 0)]),
    ):
        torch.testing.assert_close(model(ROWS), expected, rtol=1e-4, atol=1e-4)


def test_an_inner_mean_is_that_of_the_model_it_is_used_in(model: GPT) -> None:
    smaller = edited(model, Part("block", 0))
    expected = edited(smaller, Part("mlp", 1), over=OTHER)(ROWS)
    with without(model, blocks=[0]), without(model, mlps=[1], by="mean", over=OTHER):
        torch.testing.assert_close(model(ROWS), expected, rtol=1e-4, atol=1e-4)


def test_the_inner_call_counts_for_the_same_part(model: GPT) -> None:
    for parts in (named(Part("head", 1, 2)), named(Part("block", 1)), named(Part("mlp", 1))):
        with without(model, **parts):
            expected = model(ROWS)
        with without(model, **parts, by="mean", over=OTHER), without(model, **parts):
            torch.testing.assert_close(model(ROWS), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("by", ["zero", "mean"])
def test_effects_are_the_losses_of_edited_models(model: GPT, by: By) -> None:
    whole = float(losses(model, IDS).double().mean())
    found = effects(model, IDS, by=by)
    assert [effect.part for effect in found] == [
        *(Part("head", layer, head) for layer in range(3) for head in range(4)),
        *(Part(kind, layer) for kind in ("attention", "mlp", "block") for layer in range(3)),
    ]
    for effect in found:
        other = edited(model, effect.part, over=IDS if by == "mean" else None)
        loss = float(losses(other, IDS).double().mean())
        assert effect.loss == pytest.approx(loss, abs=1e-4)
        assert effect.change == pytest.approx(loss - whole, abs=1e-4)
    assert max(abs(effect.change) for effect in found) > 0.01


def test_effects_do_not_depend_on_the_batches(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    together = effects(model, IDS, by="mean")
    for tokens in (1, 45):
        monkeypatch.setattr(ablation, "TOKENS_AT_ONCE", tokens)
        for one, other in zip(together, effects(model, IDS, by="mean"), strict=True):
            assert one.part == other.part
            assert one.loss == pytest.approx(other.loss, abs=1e-4)


def test_kinds_can_be_chosen(model: GPT) -> None:
    everything = {effect.part: effect.loss for effect in effects(model, IDS)}
    chosen = effects(model, IDS, parts=["mlp", "head"])
    assert [effect.part.kind for effect in chosen] == ["mlp"] * 3 + ["head"] * 12
    for effect in chosen:
        assert effect.loss == pytest.approx(everything[effect.part], abs=1e-4)
    assert effects(model, IDS, parts=[]) == []


def test_the_parts_of_an_induction_circuit_are_found() -> None:
    """A random row that occurs twice: the previous-token head and the induction head carry all of the copying."""
    model = copier()
    row = [3, 8, 1, 9, 4, 11, 6]
    found = {effect.part: effect.change for effect in effects(model, [15, *row, *row])}
    for part in (Part("head", 0, 0), Part("head", 1, 0), Part("attention", 0), Part("block", 1)):
        assert found[part] > 0.5
    for head in (1, 2, 3):
        assert found[Part("head", 0, head)] == found[Part("head", 1, head)] == pytest.approx(0, abs=1e-6)
    assert found[Part("mlp", 0)] == pytest.approx(0, abs=1e-6)


def test_gradients_pass_what_was_removed() -> None:
    """Means are computed without a graph, and are no obstacle to a later one."""
    model = model_of("usual").requires_grad_(True)
    with without(model, heads=[(0, 1)], blocks=[2], by="mean", over=OTHER):
        model(ROWS).logsumexp(-1).sum().backward()
    removed, kept = model.blocks[2].mlp.down.weight.grad, model.blocks[1].mlp.down.weight.grad
    assert removed is not None
    assert kept is not None
    assert (removed == 0).all()
    assert (kept != 0).any()


def test_the_model_is_as_before_also_after_errors() -> None:
    model = model_of("gpt2", dropout=0.5).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with (
        pytest.raises(ZeroDivisionError),
        without(model, heads=[(0, 1)], attentions=[1], mlps=[0], blocks=[2], by="mean", over=OTHER),
    ):
        raise ZeroDivisionError
    assert effects(model, IDS) == effects(model, IDS)
    assert model.training
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(block.attention.form is fused for block in model.blocks)


def test_a_model_in_half_precision_has_parts_too() -> None:
    model = model_of("usual").bfloat16()
    for by, over in (("zero", None), ("mean", OTHER)):
        with without(model, heads=[(0, 1)], mlps=[1], blocks=[2], by=by, over=over):
            assert model(ROWS).dtype == torch.bfloat16
    assert len(effects(model, IDS, by="mean")) == 21


def test_what_does_not_exist_is_named() -> None:
    model = model_of("usual")
    for arguments, message in (
        ({"heads": [(3, 0)]}, "no layer 3"),
        ({"heads": [(0, 4)]}, "no head 4"),
        ({"attentions": [-1]}, "no layer -1"),
        ({"mlps": [3]}, "no layer 3"),
        ({"blocks": [9]}, "no layer 9"),
        ({"by": "median"}, "by = 'median' is not known"),
        ({"by": "mean", "mlps": [0]}, "over=ids"),
        ({"over": IDS, "mlps": [0]}, "over=ids"),
        ({"by": "mean", "over": [1] * 17, "mlps": [0]}, "17 tokens"),
        ({"by": "mean", "over": [], "mlps": [0]}, "0 tokens"),
    ):
        with pytest.raises(InspectionError, match=message), without(model, **arguments):
            pass
    with pytest.raises(InspectionError, match=r"no part 'heads'\. Did you mean head"):
        effects(model, IDS, parts=["heads"])
    with pytest.raises(InspectionError, match="1 token, and this needs 2"):
        effects(model, [1])
    with pytest.raises(InspectionError, match="by = 'median'"):
        effects(model, IDS, by="median")  # pyright: ignore[reportArgumentType]
