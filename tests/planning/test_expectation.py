"""What a plan says one can expect follows the law, and more of anything never makes it worse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glassgpt.evaluation.quality_words import in_words
from glassgpt.planning.expectation import expectation, expected_bits
from glassgpt.planning.plan import Plan, make_plan
from glassgpt.runs.config import CorpusConfig, RunConfig


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text("".join(f"The cat number {n} sat on mat {n * 7919}.\n\n" for n in range(2000)))
    made = make_plan(RunConfig(corpus=CorpusConfig(sources=(str(text),))), 10)
    # The speed of this machine must not decide what is tested.
    steady = tuple(replace(shape, tokens_per_second=5000.0, excess=1.0) for shape in made.considered)
    return replace(made, considered=steady, text=replace(made.text, compressed=2.0))


def test_more_minutes_and_more_text_promise_more(plan: Plan) -> None:
    more_text = expected_bits(plan, minutes=100, text=100)
    assert expected_bits(plan) >= expected_bits(plan, minutes=100) > more_text > 1.29


def test_the_words_are_those_of_the_expected_number(plan: Plan) -> None:
    first, second = expectation(plan)
    assert in_words(expected_bits(plan)) in first
    assert "10 times" in second
    again = replace(plan, text=replace(plan.text, compressed=0.1))
    assert len(expectation(again)) == 1
    assert "repeats itself" in expectation(again)[0]
    stories = replace(plan.config, corpus=CorpusConfig(sources=("builtin:tinytales",)))
    assert expectation(replace(plan, config=stories)) == ()


@pytest.mark.parametrize(
    ("bits", "words"), [(8.0, "noise"), (2.64, "real words"), (1.96, "phrases"), (0.5, "whole")]
)
def test_words_for_measured_samples(bits: float, words: str) -> None:
    assert in_words(bits).startswith(words)
