"""Copying repeated random rows, by models that do it, that do not, and that cannot be tested."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from glassgpt.errors import EvaluationError
from glassgpt.evaluation.induction import induction, ordinary_ids, repeated_rows


def test_rows_are_the_same_twice_and_unambiguous():
    rows = repeated_rows(np.arange(5, 40), 12, rows=9, seed=1)
    assert rows.shape == (9, 24)
    assert (rows[:, :12] == rows[:, 12:]).all()
    assert all(len(set(row[:12])) == 12 for row in rows.tolist())
    assert rows.min() >= 5
    assert rows.max() < 40
    assert (rows == repeated_rows(np.arange(5, 40), 12, rows=9, seed=1)).all()
    assert (rows != repeated_rows(np.arange(5, 40), 12, rows=9, seed=2)).any()


def test_special_tokens_are_no_ordinary_ones(tokenizer, char_tokenizer):
    assert tokenizer.end_of_text not in ordinary_ids(tokenizer)
    assert len(ordinary_ids(tokenizer)) == tokenizer.vocab_size - 1
    assert sorted(map(char_tokenizer.token_bytes, ordinary_ids(char_tokenizer))) == [
        b"\n",
        b" ",
        b"a",
        b"b",
        b"c",
    ]


def test_a_model_that_copies_gets_everything(bench, tokenizer):
    score = induction(bench.subject_of(bench.run_of(bench.copier(tokenizer.vocab_size), tokenizer)))
    assert score.value == 1.0
    assert score.count == 64 * 49
    # It has no idea of the first half, and of the second it is as sure as logits of 20 and 0 make it.
    v = tokenizer.vocab_size
    assert score.details["loss, first half"] == pytest.approx(math.log(v), abs=1e-4)
    assert score.details["loss, second half"] == pytest.approx(
        math.log(1 + (v - 1) * math.exp(-20)), abs=1e-6
    )


def test_a_model_that_likes_one_token_gets_its_share(bench, tokenizer):
    """Right exactly where its preferred token comes next, equally in both halves."""
    model = bench.unigram(tokenizer, seed=5)
    ids = ordinary_ids(tokenizer)
    likes = int(model.rule(torch.zeros(1, 1))[0, 0].argmax())
    rows = repeated_rows(ids, 50, rows=64, seed=0)
    score = induction(bench.subject_of(bench.run_of(model, tokenizer)))
    assert score.value == pytest.approx((rows[:, 51:] == likes).mean())
    assert score.details["loss, first half"] == pytest.approx(score.details["loss, second half"], abs=1e-4)
    assert score.chance == 1 / len(ids)


def test_an_untrained_model_copies_nothing(bench, tokenizer):
    score = induction(bench.subject_of(bench.run_of(bench.untrained(tokenizer), tokenizer)))
    assert score.value < 0.05
    gain = score.details["loss, first half"] - score.details["loss, second half"]
    assert abs(gain) < 0.1


def test_rows_fit_into_the_context(bench, tokenizer):
    score = induction(bench.subject_of(bench.run_of(bench.copier(tokenizer.vocab_size, 9), tokenizer)))
    assert score.value == 1.0
    assert score.count == 64 * 3


def test_too_small_a_context_is_refused(bench, tokenizer):
    subject = bench.subject_of(bench.run_of(bench.untrained(tokenizer, context_length=7), tokenizer))
    with pytest.raises(EvaluationError, match="does not fit into a context of 7 tokens"):
        induction(subject)
