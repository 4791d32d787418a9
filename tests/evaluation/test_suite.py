"""All probes run on one run, and what is said about those that cannot run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from msgspec import structs

from glassgpt.errors import EvaluationError
from glassgpt.evaluation.score import Score, Texts, mean_of, share_of
from glassgpt.evaluation.suite import PROBES, ask_all, tinytales
from glassgpt.runs.facts import DataFacts, SplitFacts

FACTS = DataFacts(sources=[], documents=5, splits={"train": SplitFacts(tokens=300, documents=5, bytes=900)})


def of_stories(bench, tokenizer, data: DataFacts | None):
    run = bench.run_of(bench.untrained(tokenizer), tokenizer, sources=("builtin:tinytales:5",))
    run = replace(run, lineage=structs.replace(run.lineage, data=data))
    return bench.subject_of(run, samples=3)


def test_an_untrained_model_tells_no_valid_story(bench, tokenizer):
    score = tinytales(of_stories(bench, tokenizer, FACTS))
    assert (score.name, score.value, score.chance, score.count) == ("tinytales", 0.0, 0.0, 3)
    assert score.details["valid"] == 0.0
    assert 0 <= score.details["valid beginning"] < 0.2


def test_stories_are_asked_only_of_a_run_that_was_trained_on_them(bench, tokenizer):
    with pytest.raises(EvaluationError, match="trained on other text"):
        tinytales(bench.subject_of(bench.run_of(bench.untrained(tokenizer), tokenizer)))
    with pytest.raises(EvaluationError, match="trained on other text"):  # imported: nobody knows on what
        tinytales(of_stories(bench, tokenizer, None))


def test_without_names_all_probes_run_and_those_that_cannot_say_why(bench, tokenizer):
    text = bench.split_of(tokenizer.encode("The dog is happy and the cats were sad. " * 30))
    run = bench.run_of(bench.untrained(tokenizer, context_length=32), tokenizer)
    answers = list(ask_all(bench.subject_of(run, Texts(text, text), samples=2)))
    assert len(answers) == len(PROBES)
    excused = [answer for answer in answers if isinstance(answer, str)]
    assert [answer.partition(":")[0] for answer in excused if answer[0] in "rt"] == ["recall", "tinytales"]
    assert {answer.name for answer in answers if isinstance(answer, Score)} >= {"grammar", "induction"}


def test_named_probes_run_in_order_and_one_that_cannot_run_is_an_error(bench, tokenizer):
    subject = bench.subject_of(bench.run_of(bench.untrained(tokenizer, context_length=32), tokenizer))
    named = [
        answer.name for answer in ask_all(subject, ["induction", "grammar"]) if isinstance(answer, Score)
    ]
    assert named == ["induction", "grammar"]
    with pytest.raises(EvaluationError, match="context of 32 tokens"):
        list(ask_all(subject, ["grammar", "recall"]))


def test_standard_errors_by_hand():
    assert share_of([True, True, True, False]) == (0.75, pytest.approx(math.sqrt(0.75 * 0.25 / 4)))
    assert mean_of([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt(7 / 3)))
    assert math.isnan(mean_of([2.0])[1])
