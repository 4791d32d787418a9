"""The parts of a logit add up to it, and each is what the module that writes it adds to the stream."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import add_lora
from glassgpt.errors import InspectionError
from glassgpt.inspection.contributions import Contributions, by_neuron, contributions
from glassgpt.inspection.seen import seen
from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import Int8Linear, quantize
from glassgpt.model.stored import replace_linear
from tests.inspection.conftest import IDS, model_of


def real_logit(model: GPT, place: int, target: int, against: int | None = None) -> float:
    logits_V = model(torch.tensor([IDS]))[0, place].double()
    return float(logits_V[target] - (0 if against is None else logits_V[against]))


@pytest.mark.parametrize("against", [None, 4])
def test_the_parts_add_up_to_the_logit(against: int | None, model: GPT) -> None:
    for place in (0, 6, -1):
        for target in (0, 7, 22):
            found = contributions(model, IDS, place=place, target=target, against=against)
            assert found.logit == pytest.approx(real_logit(model, place, target, against), rel=1e-5, abs=1e-5)
            assert found.total == pytest.approx(found.logit, rel=1e-5, abs=1e-5)
            assert found.place == place % len(IDS)


@pytest.mark.parametrize("against", [None, 4])
def test_in_float64_they_add_up_to_nine_digits(against: int | None, model: GPT) -> None:
    model.double()
    for place in (0, 6, -1):
        found = contributions(model, IDS, place=place, target=7, against=against)
        assert found.logit == pytest.approx(real_logit(model, place, 7, against), abs=1e-9)
        assert abs(found.total - found.logit) < 1e-9


def through_frozen_norm(model: GPT, x: torch.Tensor, part: torch.Tensor, target: int) -> float:
    """Return the logit of one part, by the norm's formula with the scale of x."""
    norm = model.final_norm
    if isinstance(norm, nn.LayerNorm):
        scale = 1 / math.sqrt(float(((x - x.mean()) ** 2).mean()) + norm.eps)
        part = part - part.mean()
    else:
        scale = 1 / math.sqrt(float((x**2).mean()) + 1e-6)
    return float((part * scale * norm.weight) @ model.head_weight[target])


def test_each_part_is_what_its_module_writes(model: GPT) -> None:
    model.double()
    place, target, config = 6, 7, model.config
    kept = seen(model, IDS, "*")
    x = kept["blocks.2.output"][place]

    def logit(part: torch.Tensor) -> float:
        return through_frozen_norm(model, x, part, target)

    expected: dict[tuple[str, int | None, int | None], float] = {}
    token = model.token_embedding.weight[IDS[place]] * (4 if config.positions == "sinusoidal" else 1)
    expected["token", None, None] = logit(token)
    if config.positions in ("learned", "sinusoidal"):
        expected["position", None, None] = logit(kept["embedding"][place] - token)
    for layer in range(3):
        output = model.blocks[layer].get_submodule("attention.output")
        assert isinstance(output, nn.Linear)
        for head in range(4):
            columns = slice(head * config.head_dim, (head + 1) * config.head_dim)
            written = output.weight[:, columns] @ kept[f"blocks.{layer}.heads"][head, place]
            expected["head", layer, head] = logit(written)
        if config.attention_bias:
            expected["attention bias", layer, None] = logit(output.bias)
        expected["mlp", layer, None] = logit(kept[f"blocks.{layer}.mlp"][place])
    if config.norm_bias:
        expected["final norm bias", None, None] = float(model.final_norm.bias @ model.head_weight[target])
    if config.head_bias:
        assert model.head_bias is not None
        expected["output bias", None, None] = float(model.head_bias[target])
    found = contributions(model, IDS, place=place, target=target)
    assert [(part.kind, part.layer, part.head) for part in found.parts] == list(expected)
    for part in found.parts:
        assert part.value == pytest.approx(expected[part.kind, part.layer, part.head], abs=1e-9)


def test_the_neurons_add_up_to_their_mlp(model: GPT) -> None:
    model.double()
    width, place = model.config.mlp_width, 5
    x = seen(model, IDS, "blocks.2.output", "blocks.*.neurons")
    for layer in range(3):
        parts = contributions(model, IDS, place=place, target=7, against=2).parts
        (mlp,) = (part.value for part in parts if (part.kind, part.layer) == ("mlp", layer))
        found = by_neuron(model, IDS, layer=layer, place=place, target=7, against=2, most=width)
        assert sorted(found.neurons) == list(range(width))
        assert math.fsum(found.values) == pytest.approx(found.total, abs=1e-9)
        assert found.total + found.bias == pytest.approx(mlp, abs=1e-9)
        assert (found.bias != 0) == model.config.mlp_bias
        sizes = [abs(value) for value in found.values]
        assert sizes == sorted(sizes, reverse=True)
        down = model.blocks[layer].get_submodule("mlp.down")
        assert isinstance(down, nn.Linear)
        for neuron, value, active in zip(found.neurons, found.values, found.activations, strict=True):
            assert active == pytest.approx(float(x[f"blocks.{layer}.neurons"][place, neuron]), abs=1e-12)
            by_hand = [
                through_frozen_norm(model, x["blocks.2.output"][place], active * down.weight[:, neuron], id)
                for id in (7, 2)
            ]
            assert value == pytest.approx(by_hand[0] - by_hand[1], abs=1e-9)
        few = by_neuron(model, IDS, layer=layer, place=place, target=7, against=2, most=3)
        assert few.neurons == found.neurons[:3]
        assert few.total == found.total


def parts_of(found: Contributions, kind: str) -> list[float]:
    return [part.value for part in found.parts if part.kind == kind]


def test_a_head_that_alone_writes_gets_everything() -> None:
    """Only head 2 of layer 1 and the tokens write to the stream."""
    model = model_of("usual")
    for layer, block in enumerate(model.blocks):
        output = block.get_submodule("attention.output")
        assert isinstance(output, nn.Linear)
        kept = output.weight[:, 8:12].clone()
        output.weight.zero_()
        block.get_submodule("mlp.down").weight.zero_()  # pyright: ignore
        if layer == 1:
            output.weight[:, 8:12] = kept
    found = contributions(model, IDS, target=7)
    heads = [(part.layer, part.head) for part in found.parts if part.kind == "head" and part.value]
    assert heads == [(1, 2)]
    assert parts_of(found, "mlp") == [0, 0, 0]
    assert found.total == pytest.approx(parts_of(found, "token")[0] + sum(parts_of(found, "head")))


def test_other_forms_of_weights_are_read_as_what_they_compute() -> None:
    """A matrix in 8 bits, or one with a correction beside it, has no plain weight to read."""
    corrected = model_of("gpt2")
    add_lora(corrected, LoRAConfig(rank=2))
    with torch.no_grad():
        for weight in corrected.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    rounded = replace_linear(model_of("grouped"), Int8Linear)
    for model in (corrected, rounded):
        found = contributions(model, IDS, target=7, against=1)
        with torch.no_grad():
            assert found.logit == pytest.approx(real_logit(model, -1, 7, 1), rel=1e-5, abs=1e-5)
        assert found.total == pytest.approx(found.logit, rel=1e-4, abs=1e-4)
        neurons = by_neuron(model, IDS, layer=2, target=7, against=1)
        assert neurons.total + neurons.bias == pytest.approx(parts_of(found, "mlp")[2], rel=1e-4, abs=1e-4)


def test_the_model_is_as_it_was() -> None:
    model = model_of("gpt2", dropout=0.5).train()
    model.blocks[1].requires_grad_(True)
    flags = [weight.requires_grad for weight in model.parameters()]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.inference_mode():
        inside = contributions(model, IDS, target=7)
    assert contributions(model, IDS, target=7) == inside
    by_neuron(model, IDS, layer=0, target=7)
    with pytest.raises(InspectionError):
        contributions(model, IDS, target=23)
    assert model.training
    assert [weight.requires_grad for weight in model.parameters()] == flags
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_wrong_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("usual")
    with pytest.raises(InspectionError, match="target 23 is outside the vocabulary"):
        contributions(model, IDS, target=23)
    with pytest.raises(InspectionError, match="compared -1 is outside"):
        contributions(model, IDS, target=2, against=-1)
    with pytest.raises(InspectionError, match="no place 10"):
        contributions(model, IDS, target=2, place=10)
    with pytest.raises(InspectionError, match="17 tokens"):
        contributions(model, [1] * 17, target=2)
    with pytest.raises(InspectionError, match="no layer 3"):
        by_neuron(model, IDS, layer=3, target=2)
    with pytest.raises(InspectionError, match="Ask for 1 or more"):
        by_neuron(model, IDS, layer=0, target=2, most=0)
    model.final_norm = nn.Identity()
    with pytest.raises(InspectionError, match="final norm is of the type Identity"):
        contributions(model, IDS, target=2)
    monkeypatch.setattr(Int8Linear, "is_packed", True)
    with pytest.raises(InspectionError, match="packed in 8 bits"):
        contributions(quantize(model_of("usual")), IDS, target=2)
