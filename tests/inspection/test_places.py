"""Position vectors and rotations: against the formulas, the model's own functions, and vectors that were turned."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from glassgpt.errors import InspectionError
from glassgpt.inspection.places import decay, position_vectors, rotations, similarity
from glassgpt.inspection.seen import seen
from glassgpt.model.gpt import GPT
from glassgpt.model.positions import rope_frequencies, rotate, rotation, sinusoids
from tests.inspection.conftest import IDS, model_of

ADDING = ("gpt2", "sliding")
SCALINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "theta": {"rope_theta": 50.0},
    "linear": {"rope_scaling": "linear", "rope_factor": 4.0},
    "llama3": {"rope_scaling": "llama3", "rope_factor": 8.0, "rope_original_length": 8},
}


@pytest.mark.parametrize("kind", ADDING)
def test_the_vectors_are_what_the_model_adds(kind: str) -> None:
    """The value at `embedding` is the token's row (sinusoidal: times sqrt(C)) plus the position's vector."""
    model = model_of(kind)
    vectors = position_vectors(model)
    assert (vectors.shape, vectors.dtype) == ((16, 16), torch.float32)
    tokens = model.token_embedding.weight[IDS] * (4.0 if kind == "sliding" else 1.0)
    torch.testing.assert_close(seen(model, IDS, "embedding")["embedding"], tokens + vectors[: len(IDS)])


def test_the_table_is_that_of_the_formula() -> None:
    """Vaswani et al.: sin(t / 10000^(2i / C)) in column 2i and cos in column 2i + 1."""
    vectors = position_vectors(model_of("sliding"))
    for t in range(16):
        for column in range(16):
            angle = t / 10000 ** (column // 2 * 2 / 16)
            expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
            assert float(vectors[t, column]) == pytest.approx(expected, abs=1e-5)
    assert torch.equal(vectors, sinusoids(torch.arange(16), 16))


def test_the_learned_table_is_a_copy() -> None:
    model = model_of("gpt2")
    vectors = position_vectors(model)
    assert torch.equal(vectors, model.position_embedding.weight)
    with torch.inference_mode():
        vectors.zero_()
    assert model.position_embedding.weight.abs().min() > 0
    assert not vectors.requires_grad


@pytest.mark.parametrize("scaling", SCALINGS)
def test_rotations_are_those_by_which_the_model_turns_its_queries(scaling: str) -> None:
    """Queries that are turned here by hand, pair by pair, are those that attention uses."""
    model = model_of("usual", **SCALINGS[scaling])
    cos_TE, sin_TE, _ = rotations(model)
    found = seen(model, IDS, "blocks.1.attention_input", "blocks.1.queries")
    attention = model.blocks[1].attention
    plain_HTD = attention.project(found["blocks.1.attention_input"][None])[0][0]
    for t in range(len(IDS)):
        for e in range(2):
            a, b = plain_HTD[:, t, e], plain_HTD[:, t, e + 2]
            turned_a, turned_b = a * cos_TE[t, e] - b * sin_TE[t, e], b * cos_TE[t, e] + a * sin_TE[t, e]
            torch.testing.assert_close(found["blocks.1.queries"][:, t, e], turned_a, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found["blocks.1.queries"][:, t, e + 2], turned_b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_wavelengths_are_whole_turns(scaling: str) -> None:
    model = model_of("usual", n_head_dim=12, context_length=32, **SCALINGS[scaling])
    cos_TE, sin_TE, wavelengths_E = rotations(model)
    assert cos_TE.shape == sin_TE.shape == (32, 6)
    for e in range(6):
        frequency = SCALINGS[scaling].get("rope_theta", 10000.0) ** (-2 * e / 12)
        if scaling == "linear":
            frequency /= 4
        if scaling == "llama3":
            turns = frequency * 8 / (2 * math.pi)
            kept = min(1, max(0, (turns - 1) / 3))
            frequency = kept * frequency + (1 - kept) * frequency / 8
        assert float(wavelengths_E[e]) == pytest.approx(2 * math.pi / frequency, rel=1e-5)
        for t in range(32):
            turned = 2 * math.pi * t / float(wavelengths_E[e])
            assert float(cos_TE[t, e]) == pytest.approx(math.cos(turned), abs=1e-5)
            assert float(sin_TE[t, e]) == pytest.approx(math.sin(turned), abs=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_decay_is_the_product_of_turned_vectors(scaling: str) -> None:
    """Pairs of length 1 in any direction, turned by the model's own function at two places d apart."""
    model = model_of("usual", n_head_dim=8, context_length=48, **SCALINGS[scaling])
    found = decay(model)
    assert found.shape == (48,)
    direction_E = torch.rand(4, generator=torch.Generator().manual_seed(2)) * 2 * math.pi
    vector_D = torch.cat((direction_E.cos(), direction_E.sin()))
    turned = rotate(vector_D.expand(60, -1), rotation(torch.arange(60), rope_frequencies(model.config)))
    for distance in range(48):
        for key in (0, 5, 11):
            product = turned[key + distance] @ turned[key] / (vector_D @ vector_D)
            assert float(found[distance]) == pytest.approx(float(product), abs=2e-5)
    assert float(found[0]) == 1


def test_decay_by_hand_and_over_any_distance() -> None:
    """Heads of 4 with theta 10,000 have the frequencies 1 and 0.01."""
    found = decay(model_of("usual"), distances=500)
    expected = [(math.cos(d) + math.cos(0.01 * d)) / 2 for d in range(500)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_similarity_is_the_cosine_of_each_two() -> None:
    vectors = torch.tensor([[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0], [-3.0, -4.0], [0.0, 0.0], [1.0, 0.0]])
    expected = torch.tensor(
        [
            [1, 1, 0, -1, 0, 0.6], [1, 1, 0, -1, 0, 0.6], [0, 0, 1, 0, 0, -0.8], [-1, -1, 0, 1, 0, -0.6],
            [0, 0, 0, 0, 0, 0], [0.6, 0.6, -0.8, -0.6, 0, 1],
        ]
    )  # fmt: skip
    torch.testing.assert_close(similarity(vectors), expected, rtol=1e-6, atol=1e-6)


def test_sinusoids_are_as_similar_as_their_distance_says() -> None:
    """The cosine between two sinusoidal vectors is the decay of their frequencies, wherever they stand."""
    found = similarity(position_vectors(model_of("sliding")))
    frequencies = [10000 ** (-2 * e / 16) for e in range(8)]
    for s in range(16):
        for t in range(16):
            expected = sum(math.cos((s - t) * frequency) for frequency in frequencies) / 8
            assert float(found[s, t]) == pytest.approx(expected, abs=1e-5)


def test_a_model_without_such_positions_says_what_to_use(model: GPT) -> None:
    positions = model.config.positions
    if positions in ("learned", "sinusoidal"):
        position_vectors(model)
        for look in (rotations, decay):
            with pytest.raises(InspectionError, match="Use `position_vectors`"):
                look(model)
    elif positions == "rotary":
        with pytest.raises(InspectionError, match="Use `rotations` and `decay`"):
            position_vectors(model)
        with pytest.raises(InspectionError, match="distances = 0"):
            decay(model, distances=0)
    else:
        with pytest.raises(InspectionError, match=r"adds no vectors for positions.*attention weights"):
            position_vectors(model)
        for look in (rotations, decay):
            with pytest.raises(InspectionError, match=r"positions = 'none'.*attention weights"):
                look(model)
