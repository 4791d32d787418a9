"""The named points hold the documented tensors, can be replaced, and cost nothing when nobody looks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from glassgpt.errors import ConfigError
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.points import looking, point_names

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


@pytest.fixture(params=["fused", "gated", "sliding"])
def model(request: pytest.FixtureRequest) -> GPT:
    torch.manual_seed(0)
    parts = {
        "fused": {"activation": "gelu", "norm": "layernorm", "positions": "learned"},
        "gated": {"activation": "swiglu", "n_kv_head": 2, "tied_head": False},
        "sliding": {"attention": "sliding", "window": 3},
    }[request.param]
    return GPT(ModelConfig(vocab_size=23, context_length=16, n_layer=2, n_head=4, n_embd=16, **parts)).eval()


def seen(model: GPT, *names: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with looking(model, *names, see=lambda name, value: found.__setitem__(name, value.detach())):
        model(IDS)
    return found


def test_every_point_is_seen_and_nothing_changes(model: GPT) -> None:
    plain = model(IDS)
    found: dict[str, Tensor] = {}
    with looking(model, "*", see=lambda name, value: found.__setitem__(name, value)):
        torch.testing.assert_close(model(IDS), plain)
    assert sorted(found) == sorted(point_names(2))
    assert torch.equal(model(IDS), plain)


def test_the_points_add_up(model: GPT) -> None:
    at = seen(model, "*")
    torch.testing.assert_close(at["blocks.0.input"], at["embedding"])
    for block, layer in zip(model.blocks, ("blocks.0", "blocks.1"), strict=True):
        torch.testing.assert_close(at[f"{layer}.input"] + at[f"{layer}.attention"], at[f"{layer}.middle"])
        torch.testing.assert_close(at[f"{layer}.middle"] + at[f"{layer}.mlp"], at[f"{layer}.output"])
        torch.testing.assert_close(block.attention_norm(at[f"{layer}.input"]), at[f"{layer}.attention_input"])
        torch.testing.assert_close(block.mlp.down(at[f"{layer}.neurons"]), at[f"{layer}.mlp"])
        heads = at[f"{layer}.heads"].transpose(1, 2).flatten(2)
        torch.testing.assert_close(block.attention.output(heads), at[f"{layer}.attention"])
        values = at[f"{layer}.values"]
        values = values.repeat_interleave(4 // values.shape[1], dim=1)
        torch.testing.assert_close(at[f"{layer}.weights"] @ values, at[f"{layer}.heads"])
        torch.testing.assert_close(at[f"{layer}.weights"].sum(-1), torch.ones(1, 4, 8))
    torch.testing.assert_close(model.logits(at["final"]), model(IDS))


def test_a_replaced_value_is_used_from_there_on(model: GPT) -> None:
    """Without the two additions of its last block, a model is its first block alone."""
    with looking(model, "blocks.1.attention", "blocks.1.mlp", see=lambda _, value: torch.zeros_like(value)):
        ablated = model(IDS)
    first = seen(model, "blocks.0.output")["blocks.0.output"]
    torch.testing.assert_close(ablated, model.logits(model.final_norm(first)))


def test_a_head_can_be_left_out(model: GPT) -> None:
    def without_first(_name: str, heads: Tensor) -> Tensor:
        return heads * torch.tensor([0.0, 1, 1, 1]).view(1, 4, 1, 1)

    with looking(model, "blocks.0.heads", see=without_first):
        ablated = model(IDS)
    with torch.no_grad():
        model.blocks[0].attention.output.weight[:, : model.config.head_dim] = 0
    torch.testing.assert_close(ablated, model(IDS))


def test_weights_can_be_replaced(model: GPT) -> None:
    """Attention to the first token alone returns that token's value."""

    def first(_name: str, weights: Tensor) -> Tensor:
        return torch.zeros_like(weights).index_fill(-1, torch.tensor(0), 1.0)

    heads: dict[str, Tensor] = {}

    def see(name: str, value: Tensor) -> Tensor | None:
        if name.endswith("weights"):
            return first(name, value)
        heads[name] = value
        return None

    with looking(model, "blocks.0.weights", "blocks.0.heads", "blocks.0.values", see=see):
        model(IDS)
    value = heads["blocks.0.values"][:, :, :1].repeat_interleave(4 // (model.config.n_kv_head or 4), dim=1)
    torch.testing.assert_close(heads["blocks.0.heads"], value.expand_as(heads["blocks.0.heads"]))


def test_looks_end_with_their_block_and_after_errors(model: GPT) -> None:
    def fail(_name: str, _value: Tensor) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), looking(model, "*", see=fail):
        model(IDS)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    model(IDS)


def test_generation_is_seen(model: GPT) -> None:
    calls: list[str] = []
    written = generate_ids(model, [1, 2], SamplingConfig(temperature=0))
    next(written)
    with looking(model, "blocks.0.mlp", "blocks.1.weights", see=lambda name, _: calls.append(name)):
        next(written)
    next(written)
    assert calls == ["blocks.0.mlp", "blocks.1.weights"]


@pytest.mark.parametrize("name", ["blocks.2.mlp", "blocks.0.mpl", "residual", "blocks.*.atention"])
def test_an_unknown_point_names_the_known_ones(model: GPT, name: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"attention_input.*such as blocks\.0\.mlp"),
        looking(model, name, see=lambda _name, _value: None),
    ):
        pass
