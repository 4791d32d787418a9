"""Minimal pairs: what they are made of, and the scores of models with known behaviour."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
import torch

from glassgpt.errors import EvaluationError
from glassgpt.evaluation import grammar as module
from glassgpt.evaluation.grammar import CONTRASTS, ORDERS, Contrast, Pair, grammar, pairs


def words(sentence: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", sentence)


def test_there_are_many_pairs_of_many_phenomena_and_none_twice():
    found = pairs()
    assert len(found) >= 120
    assert len({pair.phenomenon for pair in found}) == 11
    assert len(set(found)) == len(found)
    assert all(pair.right != pair.wrong and "{" not in pair.right + pair.wrong for pair in found)


@pytest.mark.parametrize("phenomenon", dict.fromkeys(contrast.phenomenon for contrast in CONTRASTS))
def test_right_and_wrong_sentences_have_the_same_words(phenomenon):
    """So no preference for words, however strong, helps."""
    chosen = [pair for pair in pairs() if pair.phenomenon == phenomenon]
    right, wrong = (
        Counter(word for pair in chosen for word in words(getattr(pair, side))) for side in ("right", "wrong")
    )
    assert right == wrong


def test_word_order_has_the_same_words_in_every_pair():
    chosen = [pair for pair in pairs() if pair.phenomenon == "word order"]
    assert len(chosen) >= len(ORDERS)
    assert all(sorted(words(pair.right)) == sorted(words(pair.wrong)) for pair in chosen)


def test_a_couple_of_pairs_by_hand(monkeypatch):
    monkeypatch.setattr(
        module,
        "CONTRASTS",
        (Contrast("number", ("One {child} {gap}.", "Two {child}s {gap}."), ("is", "are")),),
    )
    monkeypatch.setattr(module, "ORDERS", ())
    assert pairs() == [
        Pair("number", "One girl is.", "One girl are."),
        Pair("number", "Two girls are.", "Two girls is."),
        Pair("number", "One boy is.", "One boy are."),
        Pair("number", "Two boys are.", "Two boys is."),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_only_prefers_words_is_exactly_at_chance(bench, tokenizer, seed):
    """One of each couple is right; in word order all are ties, or nearly so: sums of the same numbers."""
    score = grammar(bench.subject_of(bench.run_of(bench.unigram(tokenizer, seed=seed), tokenizer)))
    assert score.chance == 0.5
    for phenomenon, share in score.details.items():
        if phenomenon != "word order":
            assert share == pytest.approx(0.5), phenomenon


def test_a_model_that_knows_the_right_sentences_is_always_right(bench, tokenizer):
    """A model that, after the beginning of a right sentence, expects only what follows in it."""
    v = tokenizer.vocab_size
    follows = {}
    for pair in pairs():
        ids = [tokenizer.end_of_text, *tokenizer.encode(pair.right)]
        for end in range(1, len(ids)):
            follows.setdefault(tuple(ids[:end]), set()).add(ids[end])

    def rule(ids_BT: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*ids_BT.shape, v)
        for row, ids in zip(logits, ids_BT.tolist(), strict=True):
            for place in range(len(ids)):
                row[place, list(follows.get(tuple(ids[: place + 1]), ()))] = 30.0
        return logits

    score = grammar(bench.subject_of(bench.run_of(bench.rule_model(rule, v), tokenizer)))
    assert score.value == 1.0
    assert score.error == 0.0
    assert score.count == len(pairs())


def test_an_untrained_model_is_near_chance(bench, tokenizer):
    score = grammar(bench.subject_of(bench.run_of(bench.untrained(tokenizer), tokenizer)))
    assert abs(score.value - 0.5) < 4 * 0.5 / math.sqrt(score.count)


def test_a_vocabulary_without_the_letters_is_refused(bench, char_tokenizer):
    subject = bench.subject_of(bench.run_of(bench.untrained(char_tokenizer), char_tokenizer))
    with pytest.raises(EvaluationError, match="cannot represent"):
        grammar(subject)
