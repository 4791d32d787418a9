"""Where heads attend, compared with plain loops in float64 and with attention whose pattern is known."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection.attention import Pair, distance, entropy, rollout, strongest
from glassgpt.inspection.trace import Trace, trace_ids
from glassgpt.model.attention import using
from glassgpt.model.gpt import GPT
from glassgpt.model.points import looking
from tests.inspection.conftest import IDS, model_of

T = len(IDS)


def used_by(model: GPT) -> Tensor:
    """The weights that attention itself used, (L, H, T, T) in float64."""
    found: list[Tensor] = []
    with using(model, "explicit"), looking(model, "blocks.*.weights", see=lambda _, w: found.append(w[0])):
        model(torch.tensor([IDS]))
    return torch.stack(found).double()


class Given(Trace):
    """A trace whose weights are given: (L, H, T, T)."""

    def weights(self, layer: int) -> Tensor:
        return self.arrays["given"][layer]


def given(weights_LHTT: Tensor) -> Trace:
    layers, heads, tokens, _ = weights_LHTT.shape
    model = model_of("usual", n_layer=layers, n_head=heads, n_embd=4 * heads)
    traced = trace_ids(model, [1] * tokens)
    return Given(traced.text, traced.ids, traced.pieces, 0, traced.config, {"given": weights_LHTT})


def one_hot(keys: list[int]) -> Tensor:
    """Each query attends to one key alone, (1, 1, T, T)."""
    return torch.nn.functional.one_hot(torch.tensor(keys), len(keys)).float()[None, None]


def test_entropy_and_distance_are_the_sums_of_their_formulas(model: GPT) -> None:
    weights = used_by(model).tolist()
    traced = trace_ids(model, IDS)
    found = entropy(traced), distance(traced)
    assert found[0].shape == found[1].shape == (3, 4)
    for layer in range(3):
        for head in range(4):
            spread = back = 0.0
            for query in range(1, T):
                row = weights[layer][head][query]
                spread -= sum(weight * math.log(weight) for weight in row if weight > 0)
                back += sum(weight * (query - key) for key, weight in enumerate(row))
            assert float(found[0][layer, head]) == pytest.approx(spread / (T - 1), abs=1e-4)
            assert float(found[1][layer, head]) == pytest.approx(back / (T - 1), abs=1e-4)


def test_known_patterns_have_known_entropy_and_distance() -> None:
    previous = given(one_hot([0, 0, 1, 2, 3]))
    assert (float(entropy(previous)), float(distance(previous))) == (0, 1)
    first = given(one_hot([0, 0, 0, 0, 0]))
    assert (float(entropy(first)), float(distance(first))) == (0, 2.5)
    even = given((torch.ones(5, 5).tril() / torch.arange(1, 6)[:, None])[None, None])
    assert float(entropy(even)) == pytest.approx(sum(math.log(n) for n in (2, 3, 4, 5)) / 4)
    assert float(distance(even)) == pytest.approx(sum(n / 2 for n in (1, 2, 3, 4)) / 4)


def test_rollout_is_the_sum_over_all_paths(model: GPT) -> None:
    """Each layer either stays (one half) or moves by the mean weights (one half): all 2^layers ways are added."""
    weights = used_by(model).mean(1)
    rolled = rollout(trace_ids(model, IDS))
    assert rolled.shape == (3, T, T)
    for layer in range(3):
        expected = torch.zeros(T, T, dtype=torch.float64)
        for way in range(2 ** (layer + 1)):
            product = torch.eye(T, dtype=torch.float64)
            for step in range(layer + 1):
                if way >> step & 1:
                    product = weights[step] @ product
            expected += product / 2 ** (layer + 1)
        torch.testing.assert_close(rolled[layer].double(), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(rolled[layer].sum(-1), torch.ones(T))


def test_rollout_begins_with_the_first_layer() -> None:
    """Layer 0 looks at the token before, layer 1 at the first token; so the last token never reaches the fourth."""
    rolled = rollout(given(torch.cat((one_hot([0, 0, 1, 2, 3]), one_hot([0, 0, 0, 0, 0])))))
    torch.testing.assert_close(rolled[0][4], torch.tensor([0, 0, 0, 0.5, 0.5]))
    torch.testing.assert_close(rolled[1][4], torch.tensor([0.5, 0, 0, 0.25, 0.25]))
    heads = torch.cat((one_hot([0, 0, 1]), one_hot([0, 1, 2])), dim=1)
    torch.testing.assert_close(rollout(given(heads))[0][2], torch.tensor([0, 0.25, 0.75]))


def test_the_strongest_pairs_are_those_of_a_sorted_list(model: GPT) -> None:
    traced, weights = trace_ids(model, IDS), used_by(model)
    seen = traced.mask
    for layer, head in ((0, 0), (2, 3)):
        for without_first in (False, True):
            pairs = [
                (float(weights[layer, head, query, key]), query, key)
                for query in range(1, T)
                for key in range(int(without_first), T)
                if seen[query, key]
            ]
            pairs.sort(reverse=True)
            found = strongest(traced, layer, head, 6, without_first=without_first)
            assert [pair.weight for pair in found] == pytest.approx([pair[0] for pair in pairs[:6]], abs=1e-5)
            for pair in found:
                assert pair.weight == pytest.approx(
                    float(weights[layer, head, pair.query, pair.key]), abs=1e-5
                )
            everything = strongest(traced, layer, head, 1000, without_first=without_first)
            assert {(pair.query, pair.key) for pair in everything} == {pair[1:] for pair in pairs}


def test_pairs_of_equal_weight_are_in_the_order_of_the_text() -> None:
    traced = given(one_hot([0, 0, 1, 1, 3]))
    assert strongest(traced, 0, 0, 3) == [Pair(1, 0, 1.0), Pair(2, 1, 1.0), Pair(3, 1, 1.0)]
    assert strongest(traced, 0, 0, 3, without_first=True) == [
        Pair(2, 1, 1.0),
        Pair(3, 1, 1.0),
        Pair(4, 3, 1.0),
    ]


def test_one_layer_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the weights of a layer are asked for, those of the layer before are gone."""
    held: list[weakref.ref[Tensor]] = []

    def weights(self: Trace, layer: int) -> Tensor:
        assert all(reference() is None for reference in held)
        made = real(self, layer)
        held.append(weakref.ref(made))
        return made

    real = Trace.weights
    monkeypatch.setattr(Trace, "weights", weights)
    traced = trace_ids(model_of("usual", n_layer=5), IDS)
    for reduce in (rollout, entropy, distance):
        reduce(traced)
    assert len(held) == 15


def test_what_does_not_exist_is_named() -> None:
    traced = trace_ids(model_of("usual"), IDS)
    for layer in (-1, 3):
        with pytest.raises(InspectionError, match=f"no layer {layer}: this model has the layers 0 to 2"):
            strongest(traced, layer, 0)
    for head in (-1, 4):
        with pytest.raises(InspectionError, match=f"no head {head}: each layer has the heads 0 to 3"):
            strongest(traced, 0, head)
    with pytest.raises(InspectionError, match="most = 0"):
        strongest(traced, 0, 0, 0)
    alone = trace_ids(model_of("usual"), IDS[:1])
    for reduce in (entropy, distance):
        with pytest.raises(InspectionError, match="2 tokens or more"):
            reduce(alone)
    assert strongest(alone, 0, 0) == []
    assert torch.equal(rollout(alone), torch.ones(3, 1, 1))


def test_nothing_of_a_trace_changes(model: GPT) -> None:
    traced = trace_ids(model, IDS)
    before = replace(traced, arrays={name: array.clone() for name, array in traced.arrays.items()})
    strongest(traced, 0, 0, without_first=True)
    rollout(traced)
    entropy(traced)
    distance(traced)
    assert all(torch.equal(before.arrays[name], array) for name, array in traced.arrays.items())
