"""Patching restores everything where everything passes through, and nothing where nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from glassgpt.errors import InspectionError
from glassgpt.inspection import patching
from glassgpt.inspection.patching import OF_PLACES, POINTS, patch
from glassgpt.inspection.seen import seen
from glassgpt.model.gpt import GPT
from glassgpt.model.points import looking
from tests.inspection.conftest import IDS, model_of
from tests.inspection.test_heads import START, copier

OTHER = [*IDS[:6], 8, 6, 7, 3]
"""Differs from IDS at the places 6 and 8; the last token is the same."""
ONE = [*IDS[:7], 7, *IDS[8:]]
"""Differs at place 7 alone. Within the reach of all kinds of attention, through three layers."""
ANSWERS = {"wanted": 11, "unwanted": 17}
T = len(IDS)


@pytest.fixture
def exact(model: GPT) -> GPT:
    """A model in float64, so that rounding does not hide anything."""
    return model.double()


def measure(model: GPT, ids: Sequence[int]) -> float:
    logits = model(torch.tensor([ids]))[0, -1]
    return float(logits[11] - logits[17])


@pytest.mark.parametrize("points", POINTS)
def test_each_number_is_that_of_a_run_with_one_value_exchanged(exact: GPT, points: str) -> None:
    """Here each run is made alone, with a see that takes one value from the clean run."""
    found = patch(exact, IDS, OTHER, points=points, **ANSWERS)
    values = seen(exact, IDS, f"blocks.*.{points}")
    clean, corrupted = measure(exact, IDS), measure(exact, OTHER)
    assert (found.clean, found.corrupted) == pytest.approx((clean, corrupted), abs=1e-9)
    assert found.points == points
    assert found.restored.shape == (3, 4 if points == "heads" else T)
    for layer in range(3):
        for index in range(found.restored.shape[1]):

            def see(name: str, value: Tensor, index: int = index) -> Tensor:
                value = value.clone()
                value[0, index] = values[name][index]
                return value

            with looking(exact, f"blocks.{layer}.{points}", see=see):
                expected = (measure(exact, OTHER) - corrupted) / (clean - corrupted)
            assert float(found.restored[layer, index]) == pytest.approx(expected, abs=1e-5)


def test_the_stream_after_the_last_block_counts_at_the_last_place_alone(exact: GPT) -> None:
    for points in ("output", "middle", "mlp", "attention"):
        last = patch(exact, IDS, OTHER, points=points, **ANSWERS).restored[-1]
        if points == "output":
            torch.testing.assert_close(last[-1], torch.tensor(1.0))
        assert last[:-1].abs().max() < 1e-6


def test_the_only_place_that_differs_restores_everything_at_the_input(exact: GPT) -> None:
    """The embeddings differ at one place, and all that differs later comes from there."""
    restored = patch(exact, IDS, ONE, points="input", **ANSWERS).restored[0]
    torch.testing.assert_close(restored, torch.nn.functional.one_hot(torch.tensor(7), T).float())


def test_nothing_comes_from_places_before_the_first_difference(exact: GPT) -> None:
    for points in OF_PLACES:
        restored = patch(exact, IDS, ONE, points=points, **ANSWERS).restored
        assert restored[:, :7].abs().max() < 1e-6
        assert restored[:, 7:].abs().max() > 0.01


def test_places_from_which_the_last_token_is_out_of_reach_restore_nothing() -> None:
    """With a window of 2, a layer carries a value one place further; three layers carry it three places."""
    model = model_of("sliding", window=2).double()
    different = [*(22 - id for id in IDS[:-1]), IDS[-1]]
    restored = patch(model, IDS, different, points="input", **ANSWERS).restored
    for layer, reach in ((0, 3), (1, 2), (2, 1)):
        assert restored[layer, : T - 1 - reach].abs().max() < 1e-6
        assert restored[layer, T - 1 - reach].abs() > 1e-4


def test_exchanged_texts_exchange_the_measures(exact: GPT) -> None:
    """What restores everything in one direction does so in the other, too."""
    one = patch(exact, IDS, OTHER, **ANSWERS)
    other = patch(exact, OTHER, IDS, **ANSWERS)
    assert (one.clean, one.corrupted) == pytest.approx((other.corrupted, other.clean))
    assert float(one.restored[-1, -1]) == float(other.restored[-1, -1]) == pytest.approx(1)
    negative = patch(exact, IDS, OTHER, wanted=17, unwanted=11)
    assert negative.clean == pytest.approx(-one.clean)
    torch.testing.assert_close(negative.restored, one.restored)


def test_patching_follows_the_circuit_of_a_copier() -> None:
    """The last token occurred at place 1, and what followed it there differs: 2 or 3.

    The answer is at place 2 until the induction head of layer 1 moves it to the last place. The heads of layer 0 carry
    nothing: which token stands before place 2 is the same in both texts.
    """
    clean, corrupted = [START, 1, 2, 5, 6, 1], [START, 1, 3, 5, 6, 1]
    model, answers = copier(), {"wanted": 2, "unwanted": 3}
    stream = patch(model, clean, corrupted, **answers)
    torch.testing.assert_close(stream.restored, torch.tensor([[0.0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]))
    assert stream.clean == pytest.approx(-stream.corrupted)
    assert stream.clean > 1
    heads = patch(model, clean, corrupted, points="heads", **answers)
    torch.testing.assert_close(heads.restored, torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0]]))
    mlps = patch(model, clean, corrupted, points="mlp", **answers)
    assert (mlps.restored == 0).all()


def test_results_do_not_depend_on_the_batches(exact: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    for points in ("output", "heads"):
        together = patch(exact, IDS, OTHER, points=points, **ANSWERS).restored
        for tokens, logits in ((1, 1), (35, 10_000), (10_000, 3 * 23)):
            with monkeypatch.context() as patched:
                patched.setattr(patching, "TOKENS_AT_ONCE", tokens)
                patched.setattr(patching, "LOGITS_AT_ONCE", logits)
                alone = patch(exact, IDS, OTHER, points=points, **ANSWERS).restored
            torch.testing.assert_close(alone, together)


def test_single_precision_is_near(model: GPT) -> None:
    found = patch(model, IDS, OTHER, **ANSWERS).restored
    torch.testing.assert_close(
        found, patch(model.double(), IDS, OTHER, **ANSWERS).restored, rtol=1e-3, atol=1e-3
    )


def test_what_cannot_be_patched_is_named() -> None:
    model = model_of("usual")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"corrupted": IDS[:-1]}, "clean text has 10 tokens and the corrupted one 9"),
        ({"corrupted": IDS}, "nothing to restore"),
        ({"wanted": 11, "unwanted": 11}, "nothing to restore"),
        ({"wanted": 23}, "id 23 is outside the vocabulary"),
        ({"unwanted": -1}, "id -1 is outside"),
        ({"corrupted": [99, *IDS[1:]]}, "id 99 is outside"),
        ({"clean": [-3, *IDS[1:]]}, "id -3 is outside"),
        ({"clean": [1] * 17, "corrupted": [2] * 17}, "17 tokens, and the model's context holds 16"),
        ({"clean": [], "corrupted": []}, "0 tokens"),
        ({"points": "outputs"}, r"`outputs` cannot be patched\. Did you mean output"),
        ({"points": "weights"}, "cannot be patched"),
    ]
    for other, message in cases:
        arguments: dict[str, Any] = {"clean": IDS, "corrupted": OTHER, **ANSWERS} | other
        with pytest.raises(InspectionError, match=message):
            patch(model, arguments.pop("clean"), arguments.pop("corrupted"), **arguments)


def test_a_difference_that_is_out_of_reach_is_no_difference() -> None:
    """With a window of 2 and one layer, the last token cannot see the first: rounding is not taken for a measure."""
    model = model_of("sliding", window=2, n_layer=1)
    with pytest.raises(InspectionError, match="nothing to restore"):
        patch(model, IDS, [9, *IDS[1:]], **ANSWERS)


def test_the_model_is_as_before() -> None:
    model = model_of("gpt2", dropout=0.5).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    first, second = (patch(model, IDS, OTHER, points="heads", **ANSWERS) for _ in range(2))
    assert torch.equal(first.restored, second.restored)
    assert model.training
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
