"""Neighbours by hand-made rows and by numpy; maps by the singular value decomposition."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from glassgpt.errors import InspectionError
from glassgpt.inspection import embedding
from glassgpt.inspection.embedding import map_of, neighbours
from glassgpt.model.gpt import GPT
from tests.inspection.conftest import model_of


def rows_of(model: GPT) -> np.ndarray:
    return model.token_embedding.weight.double().numpy()


def with_rows(rows: Any, **other: Any) -> GPT:
    """A model whose embedding begins with these rows; all others are zero."""
    model = model_of("usual", **other)
    model.token_embedding.weight.zero_()
    given = torch.as_tensor(np.asarray(rows), dtype=torch.float32)
    model.token_embedding.weight[: len(given), : given.shape[1]] = given
    return model


def test_neighbours_of_rows_made_by_hand() -> None:
    """To (1, 0): a long row in nearly its direction, a short one in its direction, one across and one against it."""
    model = with_rows([[1, 0], [6, 8], [0.5, 0], [0, 3], [-2, 0]], vocab_size=5)
    by_cosine = [(found.id, found.similarity) for found in neighbours(model, 0)]
    assert by_cosine == [(2, 1.0), (1, pytest.approx(0.6)), (3, 0.0), (4, -1.0)]
    by_dot = [(found.id, found.similarity) for found in neighbours(model, 0, by="dot")]
    assert by_dot == [(1, 6.0), (2, 0.5), (3, 0.0), (4, -2.0)]
    assert [found.id for found in neighbours(model, 0, most=2)] == [2, 1]


def test_equal_neighbours_are_in_the_order_of_their_ids_and_zero_rows_are_like_none() -> None:
    model = with_rows([[0, 0], [0, 2], [1, 1], [0, 2], [1, 1], [0, 2]], vocab_size=6)
    assert [found.id for found in neighbours(model, 3)] == [1, 5, 2, 4, 0]
    assert [found.similarity for found in neighbours(model, 0)] == [0.0] * 5
    assert [found.id for found in neighbours(model, 0)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("by", ["cosine", "dot"])
def test_neighbours_are_those_of_all_dot_products(
    model: GPT, by: Literal["cosine", "dot"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "ROWS_AT_ONCE", 5)  # so that 23 rows are several parts
    rows = rows_of(model)
    compared = rows / np.linalg.norm(rows, axis=1, keepdims=True) if by == "cosine" else rows
    table = compared @ compared.T
    for id in range(23):
        found = neighbours(model, id, most=100, by=by)
        expected = [other for other in np.argsort(-table[id]) if other != id]
        assert [one.id for one in found] == expected
        assert [one.similarity for one in found] == pytest.approx(table[id][expected].tolist(), abs=1e-5)


def test_many_equal_neighbours_are_in_the_order_of_their_ids() -> None:
    found = neighbours(with_rows([[1, 0]] * 3000, vocab_size=3000), 1500, most=3000)
    assert [one.id for one in found] == [*range(1500), *range(1501, 3000)]


def test_an_axis_does_not_turn_with_the_last_digits_of_its_numbers() -> None:
    """Of numbers that are equally large but for rounding, the first is made positive."""
    for nearly in (0.6 - 1e-12, 0.6, 0.6 + 1e-12):
        axes_CA = torch.tensor([[0.1], [-nearly], [0.6], [0.2]], dtype=torch.float64)
        assert torch.equal(embedding._turned(axes_CA), -axes_CA)
        assert torch.equal(embedding._turned(-axes_CA), -axes_CA)


def test_a_map_is_that_of_the_singular_value_decomposition(model: GPT) -> None:
    ids = [3, 20, 7, 1, 0, 22, 9, 4, 11, 5, 16, 2]
    found = map_of(model, ids, dimensions=3)
    rows = rows_of(model)[ids]
    left, singular, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    for axis in range(3):
        sign = np.sign(right[axis][np.abs(right[axis]).argmax()])
        np.testing.assert_allclose(
            found.points_NA[:, axis].numpy(), sign * left[:, axis] * singular[axis], atol=1e-5
        )
    np.testing.assert_allclose(found.shares, singular[:3] ** 2 / (singular**2).sum(), rtol=1e-6)
    assert found.ids == tuple(ids)


def test_a_whole_map_has_all_distances(model: GPT) -> None:
    """With as many axes as the embedding has numbers, nothing is lost."""
    found = map_of(model, dimensions=16)
    assert found.ids == tuple(range(23))
    torch.testing.assert_close(
        torch.cdist(found.points_NA, found.points_NA),
        torch.cdist(model.token_embedding.weight, model.token_embedding.weight),
        rtol=1e-4,
        atol=1e-4,
    )
    assert sum(found.shares) == pytest.approx(1)
    assert sorted(found.shares, reverse=True) == list(found.shares)
    torch.testing.assert_close(found.points_NA.mean(0), torch.zeros(16), rtol=0, atol=1e-5)


def test_clusters_made_by_hand_are_apart_on_the_map() -> None:
    """Three groups far apart on two axes of 16, with a little noise on all: 10 along one, 4 along the other."""
    random = np.random.default_rng(1)
    centres = np.zeros((3, 16))
    centres[0, 5], centres[1, 5], centres[2, 11] = -10, 10, 4
    groups = np.repeat(np.arange(3), 6)
    found = map_of(with_rows(centres[groups] + 0.05 * random.standard_normal((18, 16)), vocab_size=18))
    middles = [found.points_NA[torch.from_numpy(groups == group)].mean(0).tolist() for group in range(3)]
    # The mean is (0, 4/3) on the two axes, and both axes have positive numbers there.
    assert middles[0] == pytest.approx([-10, -4 / 3], abs=0.1)
    assert middles[1] == pytest.approx([10, -4 / 3], abs=0.1)
    assert middles[2] == pytest.approx([0, 8 / 3], abs=0.1)
    along = (200 / 3, (2 * (4 / 3) ** 2 + (8 / 3) ** 2) / 3)  # variances of the centres
    assert found.shares == pytest.approx([part / sum(along) for part in along], abs=0.01)


def test_the_same_rows_give_the_same_picture_whichever_way_the_decomposition_turns_it() -> None:
    """Rows along (1, -1) and (1, 1): the numbers of each axis have the same size, and the first decides."""
    found = map_of(with_rows([[2, -2], [-2, 2], [1, 1], [-1, -1]], vocab_size=4))
    diagonal = 2**0.5
    expected = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) * diagonal
    torch.testing.assert_close(found.points_NA, expected, rtol=1e-6, atol=1e-6)
    # All rows turned round: the same axes, and points on the other side.
    turned = map_of(with_rows([[-2, 2], [2, -2], [-1, -1], [1, 1]], vocab_size=4))
    torch.testing.assert_close(turned.points_NA, -found.points_NA, rtol=1e-6, atol=1e-6)


def test_equal_rows_are_one_point_and_repeated_ids_count_once() -> None:
    model = with_rows([[3, 4]] * 4, vocab_size=4)
    found = map_of(model)
    assert found.shares == (0.0, 0.0)
    assert found.points_NA.abs().max() == 0
    assert map_of(model, [2, 0, 2, 2]).ids == (2, 0)


def test_the_model_stays_as_it_is(model: GPT) -> None:
    before = model.token_embedding.weight.clone()
    neighbours(model, 1)
    map_of(model)
    assert torch.equal(model.token_embedding.weight, before)


def test_what_cannot_be_asked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("usual")
    for id in (-1, 23):
        with pytest.raises(
            InspectionError, match=f"id {id} is outside the vocabulary, which has the ids 0 to 22"
        ):
            neighbours(model, id)
        with pytest.raises(InspectionError, match=f"id {id} is outside the vocabulary"):
            map_of(model, [1, id])
    with pytest.raises(InspectionError, match="most = 0"):
        neighbours(model, 1, most=0)
    with pytest.raises(InspectionError, match="Choose cosine or dot"):
        neighbours(model, 1, by="angle")  # pyright: ignore[reportArgumentType]
    for dimensions in (0, 17):
        with pytest.raises(
            InspectionError, match=f"dimensions = {dimensions}: this embedding has from 1 to 16"
        ):
            map_of(model, dimensions=dimensions)
    with pytest.raises(InspectionError, match="these are 1"):
        map_of(model, [1, 1])
    monkeypatch.setattr(embedding, "MOST_OF_A_MAP", 22)
    with pytest.raises(InspectionError, match="from 2 to 22 different ids, and these are 23"):
        map_of(model)
