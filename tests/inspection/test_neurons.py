"""What excites a neuron, against all values of all texts, sorted in plain Python; and a neuron made by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from glassgpt.errors import InspectionError
from glassgpt.inspection import neurons
from glassgpt.inspection.neurons import Neuron, Place, excited_by
from glassgpt.inspection.seen import seen
from glassgpt.model.gpt import GPT
from tests.inspection.conftest import IDS, model_of


def texts_of(seed: int, count: int = 30, longest: int = 16, ids: int = 23) -> list[list[int]]:
    drawn = random.Random(seed)
    return [[drawn.randrange(ids) for _ in range(drawn.randint(1, longest))] for _ in range(count)]


def values_of(model: GPT, texts: list[list[int]], layer: int) -> list[torch.Tensor]:
    """The neurons of each text, computed alone."""
    point = f"blocks.{layer}.neurons"
    return [seen(model, text[:16], point)[point] for text in texts]


def by_hand(values: list[torch.Tensor], texts: list[list[int]], neuron: int, most: int) -> Neuron:
    """Each text's first best place, sorted; Python's sort keeps the order of equals."""
    columns = [value[:, neuron].tolist() for value in values]

    def place_of(text: int, best: float) -> Place:
        place = columns[text].index(best)
        begin = max(0, place - 2)
        return Place(text, place, best, tuple(texts[text][:16][begin : place + 3]), place - begin)

    highest = sorted(
        (place_of(text, max(column)) for text, column in enumerate(columns)), key=lambda p: -p.value
    )
    lowest = min((place_of(text, min(column)) for text, column in enumerate(columns)), key=lambda p: p.value)
    every = [value for column in columns for value in column]
    above = sum(value > 0 for value in every)
    return Neuron(
        neuron, tuple(highest[:most]), lowest, sum(every) / len(every), above / len(every), len(every)
    )


def assert_same(found: Neuron, expected: Neuron) -> None:
    def named(place: Place) -> tuple[object, ...]:
        return place.text, place.place, place.ids, place.at

    assert [named(place) for place in found.highest] == [named(place) for place in expected.highest]
    assert named(found.lowest) == named(expected.lowest)
    values = [place.value for place in (*expected.highest, expected.lowest)]
    assert [place.value for place in (*found.highest, found.lowest)] == pytest.approx(
        values, rel=1e-4, abs=1e-5
    )
    assert found.mean == pytest.approx(expected.mean, rel=1e-4, abs=1e-5)
    assert (found.index, found.tokens) == (expected.index, expected.tokens)
    assert found.share_above_zero == pytest.approx(expected.share_above_zero)


@pytest.mark.parametrize("at_once", [1, 40, 4096])
def test_it_is_what_sorting_all_values_says(
    model: GPT, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neurons, "TOKENS_AT_ONCE", at_once)
    # No two begin alike and no id is repeated: what is equal but for rounding has no order.
    drawn = random.Random(3)
    texts = [
        [first, *drawn.sample([id for id in range(23) if id != first], drawn.randint(0, 18))]
        for first in range(20)
    ]
    found = excited_by(model, texts, 1, most=4, around=2)
    assert len(found) == model.config.mlp_width
    values = values_of(model, texts, 1)
    for neuron in found:
        assert_same(neuron, by_hand(values, texts, neuron.index, most=4))


def test_a_neuron_made_by_hand_is_excited_by_its_token() -> None:
    """Neuron 3 reads one direction that only token 7 has; neuron 4 reads its opposite."""
    model = model_of("strided", attention="full", stride=None, n_layer=1, norm="layernorm")
    for name, weight in model.named_parameters():
        weight.zero_()
        if name.endswith("norm.weight"):
            weight.fill_(1.0)
    model.token_embedding.weight[:, 1] = 1.0
    model.token_embedding.weight[7, 0] = 1.0
    model.blocks[0].get_parameter("mlp.up.weight")[3, 0] = 2.0
    model.blocks[0].get_parameter("mlp.up.weight")[4, 0] = -2.0
    texts = [[1, 2, 3], [5, 7, 5, 7], [7], [2] * 16]
    third, fourth, dead = excited_by(model, texts, 0, neurons=[3, 4, 9], around=1)
    # LayerNorm of (1, 1, 0, ...): mean 1/8, variance 7/64; of (0, 1, 0, ...): mean 1/16, variance 15/256.
    high, low = 2 * (7 / 8) / (7 / 64) ** 0.5, -2 * (1 / 16) / (15 / 256) ** 0.5
    assert [(place.text, place.place) for place in third.highest] == [(1, 1), (2, 0), (0, 0), (3, 0)]
    assert [place.value for place in third.highest] == pytest.approx([high, high, 0, 0], rel=1e-4)
    assert third.highest[0] == Place(1, 1, third.highest[0].value, (5, 7, 5), 1)
    assert third.highest[1].ids == (7,)
    assert third.tokens == 24
    assert third.share_above_zero == pytest.approx(3 / 24)
    assert third.mean == pytest.approx(3 * high / 24, rel=1e-4)
    assert fourth.share_above_zero == pytest.approx(21 / 24)
    assert fourth.highest[0].value == pytest.approx(-low, rel=1e-4)
    assert (fourth.lowest.text, fourth.lowest.place, fourth.lowest.value) == (1, 1, 0.0)
    assert (dead.share_above_zero, dead.mean, dead.highest[0].value) == (0.0, 0.0, 0.0)
    assert [(place.text, place.place) for place in dead.highest] == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_equal_values_are_in_the_order_of_the_texts_in_any_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("usual")
    for at_once in (1, 10, 4096):
        monkeypatch.setattr(neurons, "TOKENS_AT_ONCE", at_once)
        found = excited_by(model, [[4]] * 9, 0, neurons=[0], most=3)[0]
        assert [place.text for place in found.highest] == [0, 1, 2]
        assert (found.lowest.text, found.lowest.place) == (0, 0)


def test_long_texts_are_cut_and_empty_ones_keep_their_number() -> None:
    model = model_of("usual")
    long = texts_of(seed=5, count=1, longest=16)[0] * 16
    found = excited_by(model, [[], long, [], long[:16], [2]], 2, most=9)
    assert found[0].tokens == 33
    for neuron in found:
        assert [place.text for place in neuron.highest if place.text != 4] == [1, 3]
        assert all(place.place < 16 for place in neuron.highest)


def test_the_memory_does_not_grow_with_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are read one after the other, and only the best places are kept."""
    model = model_of("usual")
    sizes, given = [], [0]
    monkeypatch.setattr(neurons, "TOKENS_AT_ONCE", 64)
    add = neurons._Record.add

    def adding(record: neurons._Record, *batch: object) -> None:
        add(record, *batch)  # pyright: ignore[reportArgumentType]
        parts = [part for places in (record.highest, record.lowest) for part in vars(places).values()]
        sizes.append((sum(part.untyped_storage().nbytes() for part in parts), given[0]))

    def texts() -> Iterator[list[int]]:
        for text in texts_of(seed=1, count=200, longest=9):
            given[0] += 1
            yield text

    monkeypatch.setattr(neurons._Record, "add", adding)
    excited_by(model, texts(), 0, most=3, around=2)
    assert len(sizes) > 15
    assert len({size for size, _ in sizes[1:]}) == 1
    assert sizes[0][1] < 30  # the first batch was seen when few texts were read


def test_the_model_stays_as_it_is_also_after_an_error(model: GPT) -> None:
    before = model(torch.tensor([IDS]))
    model.train()

    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    handle = model.blocks[2].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        excited_by(model, [IDS], 0)
    handle.remove()
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())
    model.eval()
    excited_by(model, [IDS], 0)
    assert torch.equal(model(torch.tensor([IDS])), before)
    assert not model.training


def test_what_cannot_be_asked_is_named() -> None:
    model = model_of("usual")
    width = model.config.mlp_width
    for layer in (-1, 3):
        with pytest.raises(InspectionError, match=f"no layer {layer}: this model has the layers 0 to 2"):
            excited_by(model, [IDS], layer)
    for neuron in (-1, width):
        with pytest.raises(
            InspectionError, match=f"no neuron {neuron}: each layer has the neurons 0 to {width - 1}"
        ):
            excited_by(model, [IDS], 0, neurons=[0, neuron])
    for id in (-1, 23):
        with pytest.raises(
            InspectionError,
            match=r"The id \(of text 2\) .* is outside the vocabulary, which has the ids 0 to 22",
        ):
            excited_by(model, [IDS, [], [1, id], IDS], 0)
    for texts in ([], [[], []]):
        with pytest.raises(InspectionError, match="no token in the texts"):
            excited_by(model, texts, 0)
    with pytest.raises(InspectionError, match="most = 0"):
        excited_by(model, [IDS], 0, most=0)
    with pytest.raises(InspectionError, match="around = -1"):
        excited_by(model, [IDS], 0, around=-1)
