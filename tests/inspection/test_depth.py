"""Sizes along depth, from a pass that the test writes out with the model's modules in float64; and hand-made models."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection import depth
from glassgpt.inspection.depth import Depth, along_depth
from glassgpt.model.gpt import GPT, Block
from glassgpt.model.positions import rope_frequencies, rotation
from tests.inspection.conftest import IDS, model_of


def visible_keys(model: GPT, query: int) -> list[int]:
    config = model.config
    keys = range(query + 1)
    if config.attention == "sliding":
        return [key for key in keys if query - key < 3]
    if config.attention == "strided":
        return [key for key in keys if query - key < 3 or (query - key) % 3 == 0]
    return list(keys)


def attended(model: GPT, block: Block, x_TC: Tensor) -> tuple[Tensor, list[float]]:
    """What attention adds, one query of one head after the other, and the largest weight where there is a choice."""
    config = model.config
    attention = block.attention
    turn = (
        rotation(torch.arange(len(x_TC)), rope_frequencies(config)) if config.positions == "rotary" else None
    )
    q, k, v = (part[0] for part in attention.project(block.attention_norm(x_TC)[None], turn))
    heads, largest = torch.zeros(len(x_TC), config.n_head, config.head_dim, dtype=x_TC.dtype), []
    for head in range(config.n_head):
        own = head * config.kv_heads // config.n_head
        for query in range(len(x_TC)):
            keys = visible_keys(model, query)
            scores = torch.stack([q[head, query] @ k[own, key] for key in keys]) / math.sqrt(config.head_dim)
            weights = scores.exp() / scores.exp().sum()
            heads[query, head] = sum(w * v[own, key] for w, key in zip(weights, keys, strict=True))
            if len(keys) > 1:
                largest.append(float(weights.max()))
    return attention.output(heads.flatten(1)), largest


def neurons_of(block: Block, x_TC: Tensor) -> Tensor:
    mlp, inner = block.mlp, block.mlp_norm(x_TC)
    if hasattr(mlp, "gate"):
        return mlp.activation(mlp.gate(inner)) * mlp.up(inner)
    return mlp.activation(mlp.up(inner))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def size(x_TC: Tensor) -> float:
    return mean([float(row.pow(2).sum().sqrt()) for row in x_TC])


def ratio(a_TC: Tensor, x_TC: Tensor) -> float:
    return mean([float(one.norm() / row.norm()) for one, row in zip(a_TC, x_TC, strict=True)])


def by_hand(model: GPT, ids: list[int]) -> list[Depth]:
    """The same numbers token by token in float64."""
    model = copy.deepcopy(model).double()
    x = model.embed(torch.tensor([ids]), torch.arange(len(ids)))[0]
    found = [Depth("embedding", size(x))]
    for layer, block in enumerate(model.blocks):
        added, largest = attended(model, block, x)
        middle = x + added
        neurons = neurons_of(block, middle)
        mlp = block.mlp.down(neurons)
        after = middle + mlp
        cosines = [
            float(torch.cosine_similarity(one, other, dim=0)) for one, other in zip(x, after, strict=True)
        ]
        dead = [float(all(value <= 0 for value in column)) for column in neurons.T.tolist()]
        found.append(
            Depth(
                f"blocks.{layer}.output", size(after), size(added), size(mlp), ratio(added, x), ratio(mlp, middle),
                mean(cosines), mean(dead), mean(largest) if largest else None,
            )
        )  # fmt: skip
        x = after
    final = model.final_norm(x)
    entropies = [float(torch.distributions.Categorical(logits=row).entropy()) for row in model.logits(final)]
    entropy = mean(entropies)
    return [*found, Depth("final", size(final), entropy=entropy, entropy_share=entropy / math.log(23))]


def numbers_of(one: Depth) -> dict[str, float]:
    return {name: value for name, value in vars(one).items() if isinstance(value, float)}


@pytest.mark.parametrize("length", [1, 2, 10, 16])
def test_every_number_is_that_of_a_pass_written_out(model: GPT, length: int) -> None:
    ids = (IDS * 2)[:length]
    found, expected = along_depth(model, ids), by_hand(model, ids)
    assert [one.point for one in found] == ["embedding", *(f"blocks.{i}.output" for i in range(3)), "final"]
    for one, other in zip(found, expected, strict=True):
        assert numbers_of(one) == pytest.approx(numbers_of(other), rel=2e-4, abs=1e-5)


def test_neurons_die_where_their_bias_says_so() -> None:
    """Of 64 relu neurons 16 have a bias far below 0, and the others one far above."""
    model = model_of("strided", mlp_bias=True)
    for block in model.blocks:
        block.mlp.up.weight.mul_(1e-3)
        block.mlp.up.bias.copy_(torch.tensor([-1.0] * 16 + [1.0] * 48))
    assert [one.dead for one in along_depth(model, IDS)] == [None, 0.25, 0.25, 0.25, None]


def test_equal_keys_give_the_saturation_of_equal_weights() -> None:
    """Queries of zero attend to all visible keys alike: the largest weight is 1 / their number."""
    for kind, visible in (("gpt2", lambda t: t + 1), ("sliding", lambda t: min(t + 1, 3))):
        model = model_of(kind)
        for block in model.blocks:
            block.attention.qkv.weight[:16] = 0
            if block.attention.qkv.bias is not None:
                block.attention.qkv.bias[:16] = 0
        expected = mean([1 / visible(t) for t in range(1, len(IDS))])
        for one in along_depth(model, IDS)[1:4]:
            assert one.saturation == pytest.approx(expected)


def test_one_key_is_attended_to_alone_where_queries_are_long() -> None:
    model = model_of("usual")
    for block in model.blocks:
        block.attention.query_norm.weight.fill_(1e3)
    assert all((one.saturation or 0) > 0.95 for one in along_depth(model, IDS)[1:4])


def test_blocks_that_add_nothing_keep_the_stream() -> None:
    model = model_of("usual")
    for block in model.blocks:
        block.attention.output.weight.zero_()
        block.mlp.down.weight.zero_()
    embedding, *blocks, final = along_depth(model, IDS)
    for one in blocks:
        assert (one.attention, one.mlp, one.attention_ratio, one.mlp_ratio) == (0, 0, 0, 0)
        assert one.cosine == pytest.approx(1)
        assert one.stream == embedding.stream
    model.head_weight.zero_()  # and the embedding with it
    zero, *blocks, final = along_depth(model, IDS)
    assert final.entropy == pytest.approx(math.log(23))
    assert final.entropy_share == pytest.approx(1)
    assert zero.stream == 0
    assert [(one.attention_ratio, one.cosine) for one in blocks] == [(0, 0)] * 3


def test_the_entropy_is_the_same_in_parts(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = along_depth(model, IDS)[-1]
    monkeypatch.setattr(depth, "LOGITS_AT_ONCE", 3 * 23)
    parts = along_depth(model, IDS)[-1]
    assert parts.entropy == pytest.approx(whole.entropy)


def test_a_vocabulary_of_one_has_no_entropy() -> None:
    final = along_depth(model_of("usual", vocab_size=1), [0, 0])[-1]
    assert (final.entropy, final.entropy_share) == (0.0, 0.0)


def test_the_model_stays_as_it_is_also_after_an_error(model: GPT) -> None:
    before = model(torch.tensor([IDS]))
    model.train()
    with pytest.raises(InspectionError, match="outside the vocabulary"):
        along_depth(model, [1, 99])
    assert model.training
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    model.eval()
    along_depth(model, IDS)
    assert torch.equal(model(torch.tensor([IDS])), before)


def test_texts_that_do_not_fit_are_named() -> None:
    model = model_of("usual")
    with pytest.raises(InspectionError, match="0 tokens"):
        along_depth(model, [])
    with pytest.raises(InspectionError, match="17 tokens"):
        along_depth(model, [1] * 17)
