"""Recalling names: the stories, and models that recall, guess, or cannot be tested."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from glassgpt.errors import EvaluationError
from glassgpt.evaluation.recall import BOYS, GIRLS, LONG_STORIES, SHORT_STORIES, choice_ids, questions, recall


def all_questions() -> list:
    return [question for alike in questions() for question in alike]


def test_every_name_is_asked_for_as_often_as_any_other():
    asked = all_questions()
    assert len(asked) == 8 * (len(SHORT_STORIES) + len(LONG_STORIES))
    assert set(Counter(question.answer for question in asked).values()) == {len(asked) // 8}
    for alike in questions():
        assert {question.answer for question in alike} == set(alike[0].names)


def test_the_name_stands_in_the_story_and_two_of_the_others_do_not():
    for question in all_questions():
        told = [name for name in (*GIRLS, *BOYS) if name in question.story]
        assert question.answer in told
        assert len(told) == 2
        assert set(told) <= set(question.names)
        assert question.story.count(question.answer) >= 1


def test_long_stories_are_longer():
    assert min(map(len, LONG_STORIES)) > 2 * max(map(len, SHORT_STORIES))


def test_a_choice_goes_on_where_the_story_ends(bench, tokenizer):
    subject = bench.subject_of(bench.run_of(bench.untrained(tokenizer), tokenizer))
    before, name = choice_ids(subject, "Then came", "Lily")
    assert before == [tokenizer.end_of_text, *tokenizer.encode("Then came")]
    assert tokenizer.decode(name) == " Lily."


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_only_prefers_names_is_exactly_at_chance(bench, tokenizer, seed):
    model = bench.unigram(tokenizer, seed=seed, context_length=600)
    score = recall(bench.subject_of(bench.run_of(model, tokenizer)))
    assert score.value == score.chance == 0.25
    assert score.details == {"short stories": 0.25, "long stories": 0.25}
    assert score.count == 80


def test_a_model_that_expects_the_first_name_again_is_always_right(bench, tokenizer):
    """The hero is the first of the two in every story; the model prefers the first token with a capital."""
    v = tokenizer.vocab_size
    answers = {
        tuple(tokenizer.encode(q.story)): tokenizer.encode(f"{q.story} {q.answer}.") for q in all_questions()
    }

    def rule(ids_BT: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*ids_BT.shape, v)
        for row, ids in zip(logits, ids_BT.tolist(), strict=True):
            for story, whole in answers.items():
                if tuple(ids[1 : len(story) + 1]) == story:
                    for place in range(len(story), min(len(whole), len(ids))):
                        row[place, whole[place]] = 9.0
        return logits

    score = recall(bench.subject_of(bench.run_of(bench.rule_model(rule, v, 600), tokenizer)))
    assert score.value == 1.0


def test_an_untrained_model_is_near_chance(bench, tokenizer):
    model = bench.untrained(tokenizer, context_length=600)
    score = recall(bench.subject_of(bench.run_of(model, tokenizer)))
    assert abs(score.value - 0.25) < 4 * math.sqrt(0.25 * 0.75 / score.count)


def test_stories_that_are_too_long_are_left_out_with_all_their_names(bench, tokenizer):
    model = bench.unigram(tokenizer, context_length=100)
    score = recall(bench.subject_of(bench.run_of(model, tokenizer)))
    assert set(score.details) == {"short stories"}
    assert score.count % 4 == 0
    assert score.value == 0.25


def test_too_small_a_context_is_refused(bench, tokenizer):
    subject = bench.subject_of(bench.run_of(bench.untrained(tokenizer, context_length=12), tokenizer))
    with pytest.raises(EvaluationError, match="context of 12 tokens"):
        recall(subject)
