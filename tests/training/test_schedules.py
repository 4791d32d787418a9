"""Learning rates against values computed by hand, and the properties of every schedule."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.errors import ConfigError
from glassgpt.training.config import TrainingConfig
from glassgpt.training.schedules import learning_rate


def rates(steps: int, **settings) -> list[float]:
    config = TrainingConfig(learning_rate=1.0, min_learning_rate=0.2, **settings)
    return [learning_rate(step, steps, config) for step in range(steps)]


def test_linear_by_hand():
    expected = [0.25, 0.5, 0.75, 1.0, 0.8, 0.6, 0.4, 0.2]  # warm-up of 3, then four falls of 0.2
    assert rates(8, schedule="linear", warmup_steps=3) == pytest.approx(expected)


def test_cosine_by_hand():
    # 0.2 + 0.8 * (1 + cos(pi x)) / 2 at x = 0, 1/4, 1/2, 3/4, 1
    expected = [1.0, 0.2 + 0.4 * (1 + 0.70710678), 0.6, 0.2 + 0.4 * (1 - 0.70710678), 0.2]
    assert rates(5, schedule="cosine", warmup_steps=0) == pytest.approx(expected)


def test_wsd_by_hand():
    expected = [0.5, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]  # the last four of nine intervals, nearly
    share = 4 / 9
    assert rates(11, schedule="wsd", warmup_steps=1, decay_share=share) == pytest.approx(expected)


def test_constant_by_hand():
    assert rates(5, schedule="constant", warmup_steps=2) == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])


def test_a_warm_up_longer_than_the_training_only_rises():
    assert rates(3, warmup_steps=10) == pytest.approx([0.25, 0.5, 0.75])
    assert rates(1, warmup_steps=0) == [1.0]


@given(
    steps=st.integers(1, 300),
    schedule=st.sampled_from(["cosine", "linear", "wsd", "constant"]),
    warmup=st.integers(0, 320),
    peak=st.floats(1e-6, 10),
    share=st.floats(0, 1),
    decay=st.floats(0.01, 1),
)
def test_every_schedule(steps: int, schedule, warmup: int, peak: float, share: float, decay: float):
    config = TrainingConfig(
        learning_rate=peak,
        min_learning_rate=peak * share,
        schedule=schedule,
        warmup_steps=warmup,
        decay_share=decay,
    )
    values = [learning_rate(step, steps, config) for step in range(steps)]
    slack = 1e-12 * peak
    rising, falling = values[: warmup + 1], values[warmup:]
    assert all(0 <= value <= peak + slack for value in values)
    assert rising == sorted(set(rising))
    assert all(later <= earlier + slack for earlier, later in itertools.pairwise(falling))
    assert all(value >= peak * share - slack for value in falling)
    if warmup < steps:
        assert values[warmup] == pytest.approx(peak)
    if warmup < steps - 1:
        assert values[-1] == pytest.approx(peak if schedule == "constant" else peak * share)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("accumulate", 0),
        ("warmup_steps", -1),
        ("keep_checkpoints", 0),
        ("stride", 0),
        ("checkpoint_every", 0),
        ("sample_every", -1),
        ("epochs", -1.0),
        ("epochs", float("inf")),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("min_learning_rate", 1.0),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("decay_share", 0.0),
        ("epsilon", 0.0),
        ("weight_decay", float("inf")),
        ("clip", -1.0),
        ("seed", -1),
        ("seed", 2**63),  # what torch.manual_seed takes ends
    ],
)
def test_a_setting_that_cannot_be_is_named(name: str, value: float):
    with pytest.raises(ConfigError, match=rf"^training\.{name} must be "):
        TrainingConfig(**{name: value})


def test_intervals_follow_evaluate_every_unless_set():
    config = TrainingConfig(evaluate_every=7)
    assert (config.sampling_interval, config.checkpoint_interval) == (7, 7)
    config = TrainingConfig(evaluate_every=7, sample_every=0, checkpoint_every=3)
    assert (config.sampling_interval, config.checkpoint_interval) == (0, 3)
