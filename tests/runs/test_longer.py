"""The command for a longer training: what was typed, with twice what ended it."""

from __future__ import annotations

import pytest

from glassgpt.runs.longer import longer, twice_the_minutes


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["train", "my novels", "--minutes", "0.2"], 'glassgpt train "my novels" --minutes 0.4'),
        (["train", "a.txt", "--minutes=10", "--name", "first"], "glassgpt train a.txt --minutes 20"),
        (["train", "--name=x", "--minutes", "1", "--seed", "3"], "glassgpt train --seed 3 --minutes 2"),
        (["train", "a.txt", "--training.steps", "9"], None),
        (["train", "a.txt", "--minutes", "soon"], None),
        ([], None),
    ],
)
def test_minutes_are_doubled_and_the_name_is_left_out(typed: list[str], said: str | None) -> None:
    assert twice_the_minutes(typed) == said


def test_a_run_without_minutes_gets_twice_its_steps(run) -> None:
    limit, line = longer(run)
    assert limit == "steps"
    assert line.endswith("config.toml --training.steps 24")
