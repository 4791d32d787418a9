"""The loops choose the ids that `sampling` chooses, for every setting, and each row by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glassgpt.generation.sampling import SamplingConfig, distribution, draw

pytest.importorskip("numba", reason="needs numba (the extra `fast`)")

from glassgpt.generation import loop_choice
from glassgpt.generation.loop_choice import BROKEN, LoopChooser

NEAR = 2e-6
"""How near to an edge a probability or a random number may be for rounding to decide."""
NOTHING = torch.empty(0, dtype=torch.int64)


def reference(logits_V: np.ndarray, config: SamplingConfig, uniform: float, *, slack: float = 0.0) -> int:
    """Return the id in float64; `slack` moves the edges of top-p and min-p."""
    if config.temperature == 0:
        return int(logits_V.argmax())
    # Which logits are equal is decided in float32, as both engines do.
    with np.errstate(over="ignore"):
        x_V = ((logits_V - logits_V.max()) / np.float32(max(config.temperature, 1.2e-38))).astype(np.float64)
    if config.top_k:
        x_V[x_V < np.sort(x_V)[::-1][min(config.top_k, len(x_V)) - 1]] = -math.inf
    p_V = np.exp(x_V) / np.exp(x_V).sum()
    if config.top_p < 1:
        order = np.argsort(-p_V, kind="stable")
        before = np.cumsum(p_V[order]) - p_V[order]
        p_V[order[before >= config.top_p + slack]] = 0.0
    if config.min_p > 0:
        p_V[p_V < min(1.0, config.min_p * (1 - slack)) * p_V.max()] = 0.0  # the likeliest always stays
    upto_V = np.cumsum(p_V)
    return int(np.searchsorted(upto_V, min(max(uniform, 0.0), 1 - 1e-16) * upto_V[-1], side="right"))


def acceptable(logits_V: np.ndarray, config: SamplingConfig, uniform: float) -> set[int]:
    """Return the ids that may be chosen where rounding decides: one id unless something is near an edge."""
    moves = (-NEAR, 0.0, NEAR)
    return {reference(logits_V, config, uniform + move, slack=slack) for move in moves for slack in moves}


configs = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.0, 1e-300, 0.05, 0.8, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 2, 5, 50, 10_000]),
    top_p=st.sampled_from([1.0, 0.9, 0.5, 1e-9, 1 - 1e-9]),
    min_p=st.sampled_from([0.0, 0.05, 1.0]),
)
uniforms = st.floats(0, 1, exclude_max=True)


@st.composite
def some_logits(draw: Any) -> np.ndarray:
    """Draw rows of every kind: ties, excluded tokens, flat and steep ones, more and fewer than a block."""
    size = draw(st.sampled_from([1, 2, 7, 63, 64, 65, 130, 1000]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits_V = (generator.standard_normal(size) * draw(st.sampled_from([0.0, 0.01, 1.0, 8.0, 1e4]))).astype(
        np.float32
    )
    if draw(st.booleans()):
        logits_V = logits_V.round()
    excluded = generator.random(size) < draw(st.sampled_from([0.0, 0.3, 0.98]))
    excluded[generator.integers(size)] = False
    logits_V[excluded] = -np.inf
    return logits_V


def chosen(
    chooser: LoopChooser,
    logits_BV: np.ndarray,
    configs: list[SamplingConfig],
    uniforms: list[float],
    biases: Sequence[np.ndarray | None] = (),
    seen: Sequence[np.ndarray | None] = (),
) -> list[int]:
    chooser.set(configs, biases)
    return chooser.next_ids(logits_BV, uniforms, seen)


@settings(max_examples=400)
@given(some_logits(), configs, uniforms)
@example(np.zeros(130, np.float32), SamplingConfig(top_p=0.501), 0.999)
def test_ids_are_those_of_the_formulas(logits_V: np.ndarray, config: SamplingConfig, uniform: float) -> None:
    (found,) = chosen(LoopChooser(1, len(logits_V)), logits_V[None], [config], [uniform])
    assert found in acceptable(logits_V, config, uniform)
    assert logits_V[found] > -np.inf


@settings(max_examples=200)
@given(some_logits(), configs, uniforms)
def test_ids_are_those_of_torch(logits_V: np.ndarray, config: SamplingConfig, uniform: float) -> None:
    (found,) = chosen(LoopChooser(1, len(logits_V)), logits_V[None], [config], [uniform])
    probabilities = distribution(torch.from_numpy(logits_V)[None], NOTHING, config)
    torchs = int(draw(probabilities, torch.tensor([[uniform]], dtype=torch.float64)))
    assert found == torchs or {found, torchs} <= acceptable(logits_V, config, uniform)


@pytest.mark.parametrize("penalty", [1.0, 1.7, 0.6, 5e-324, 1e-30, 1e300])
def test_bias_and_penalty_come_first(penalty: float) -> None:
    """As the engine adds a bias and `distribution` penalizes; an id that was seen twice is penalized once."""
    generator, chooser = np.random.default_rng(0), LoopChooser(4, 200)
    config = SamplingConfig(temperature=0.7, repetition_penalty=penalty)
    for _ in range(50):
        logits_BV = generator.standard_normal((4, 200)).astype(np.float32) * 3
        before_BV, uniforms = logits_BV.copy(), generator.random(4)
        bias_V = np.where(generator.random(200) < 0.2, -np.inf, generator.standard_normal(200)).astype(
            np.float32
        )
        seen = generator.integers(0, 200, (4, 90))
        ids = chosen(
            chooser, logits_BV, [config] * 4, uniforms.tolist(), biases=[bias_V, None] * 2, seen=list(seen)
        )
        np.testing.assert_array_equal(logits_BV, before_BV)
        logits_BV[::2] += bias_V
        probabilities = distribution(torch.from_numpy(logits_BV), torch.from_numpy(seen), config)
        assert ids == draw(probabilities, torch.from_numpy(uniforms)[:, None])[:, 0].tolist()


def test_a_row_depends_on_itself_alone() -> None:
    """Other rows with other settings, broken ones among them, change nothing."""
    generator = np.random.default_rng(0)
    logits_BV = generator.standard_normal((6, 300)).astype(np.float32) * 2
    logits_BV[1, 77], logits_BV[3] = np.nan, -np.inf
    settings = [
        SamplingConfig(), SamplingConfig(), SamplingConfig(top_k=9), SamplingConfig(temperature=0),
        SamplingConfig(top_p=0.6), SamplingConfig(min_p=0.1, repetition_penalty=2.0),
    ]  # fmt: skip
    uniforms = generator.random(6).tolist()
    seen = [None] * 5 + [np.arange(150)]
    together = chosen(LoopChooser(8, 300), logits_BV, settings, uniforms, seen=seen)
    assert [id == BROKEN for id in together] == [False, True, False, True, False, False]
    chooser = LoopChooser(1, 300)
    for row in range(6):
        alone = chosen(chooser, logits_BV[row : row + 1], [settings[row]], [uniforms[row]], seen=[seen[row]])
        assert alone == [together[row]]


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 63, 64, 99])
def test_broken_logits_have_no_id(bad: float, temperature: float, place: int) -> None:
    logits_1V = np.zeros((1, 100), np.float32)
    logits_1V[0, place] = bad
    chooser = LoopChooser(1, 100)
    assert chosen(chooser, logits_1V, [SamplingConfig(temperature=temperature)], [0.5]) == [BROKEN]


def test_the_choice_is_compiled_once() -> None:
    """Another signature would be compiled for seconds in the middle of a text."""
    for rows, size in ((1, 1), (3, 500)):
        chooser = LoopChooser(rows, size)
        logits_BV = torch.zeros(rows, size).numpy()
        chosen(
            chooser,
            logits_BV,
            [SamplingConfig(top_k=2)] * rows,
            [0.1] * rows,
            seen=[np.zeros(1, np.int64)] * rows,
        )
    assert len(loop_choice.choose.signatures) == 1
