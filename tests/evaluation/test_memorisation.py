"""What occurs in a text, against a search by hand; and models that write memorised or new text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import EvaluationError
from glassgpt.evaluation import memorisation as module
from glassgpt.evaluation.memorisation import (
    Run,
    longest_run,
    memorisation,
    pieces_of,
    runs_in,
    samples_with_spans,
    word_spans,
)
from glassgpt.evaluation.score import Texts

small_ids = st.lists(st.integers(0, 3), min_size=0, max_size=40)


def stands_in(run: list[int], text: list[int]) -> bool:
    return any(text[start : start + len(run)] == run for start in range(len(text) - len(run) + 1))


def longest_by_hand(samples: list[list[int]], text: list[int]) -> int:
    return max(
        (
            end - start
            for ids in samples
            for start in range(len(ids))
            for end in range(start + 1, len(ids) + 1)
            if stands_in(ids[start:end], text)
        ),
        default=0,
    )


@given(
    st.lists(small_ids, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(1, 3),
    st.integers(1, 20),
)
@settings(max_examples=150)
def test_the_longest_run_is_the_one_found_by_hand(bench, samples, text, shards, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = longest_run([np.array(ids, np.int64) for ids in samples], bench.split_of(text, shards=shards))
    assert len(found) == longest_by_hand(samples, text)
    if len(found):
        assert stands_in(found.tolist(), text)
        assert any(stands_in(found.tolist(), ids) for ids in samples)


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=12),
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(1, 20),
)
@settings(max_examples=150)
def test_runs_are_found_in_their_places_each_once(bench, runs, text, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = list(runs_in([Run(i, np.array(ids)) for i, ids in enumerate(runs)], bench.split_of(text)))
    assert sorted(run.sample for run in found) == [i for i, ids in enumerate(runs) if stands_in(ids, text)]


def test_equal_hashes_of_other_tokens_are_no_match(bench, monkeypatch):
    """With a base of 1 the hash is a sum, so every order of the same tokens has the same hash."""
    monkeypatch.setattr(module, "BASE", 1)
    text = bench.split_of([1, 2, 3, 4, 5])
    assert list(runs_in([Run(0, np.array([3, 2, 1]))], text)) == []
    assert [
        run.sample for run in runs_in([Run(0, np.array([3, 2, 1])), Run(1, np.array([1, 2, 3]))], text)
    ] == [1]


def test_words_of_byte_pairs(tokenizer):
    text = "The dog is happy, and Lily sat. "
    ids = np.array(tokenizer.encode(text))
    spans = word_spans(ids, tokenizer, 3)
    found = [tokenizer.decode(ids[start:end].tolist()).strip() for start, end in spans]
    assert found == ["The dog is", "dog is happy,", "is happy, and", "happy, and Lily", "and Lily sat."]
    assert word_spans(ids, tokenizer, 8) == []


def test_words_of_characters(char_tokenizer):
    ids = np.array(char_tokenizer.encode("ab c\nba  c"))
    found = [
        char_tokenizer.decode(ids[start:end].tolist()) for start, end in word_spans(ids, char_tokenizer, 2)
    ]
    assert found == ["ab c\n", "c\nba  ", "ba  c"]


def test_samples_are_told_apart(bench):
    text = bench.split_of([1, 2, 3, 4, 5, 6, 7])
    samples = [np.array(ids) for ids in ([9, 2, 3, 9], [3, 2, 1], [6, 7], [])]
    spans = [[(0, 2), (1, 3)], [(0, 2), (1, 3)], [(0, 2)], []]
    assert samples_with_spans(samples, spans, text) == [True, False, True, False]


def test_pieces_are_as_long_as_asked(bench):
    split = bench.split_of(np.arange(50), name="validation")
    pieces = pieces_of(split, [5, 50, 51, 0, 9], seed=1)
    assert [len(piece) for piece in pieces] == [5, 50, 9]
    assert all((np.diff(piece) == 1).all() for piece in pieces)


STORY = " ".join(
    f"{a} {b}" for a in ("red", "blue", "old", "new") for b in ("dog", "cat", "box", "hat", "sun")
)


@pytest.fixture(scope="module")
def by_heart(bench, tokenizer):
    """A run of a real model that was trained on one text until it knew it by heart."""
    model = bench.untrained(tokenizer, context_length=256).train()
    ids = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode(STORY), tokenizer.end_of_text]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(250):
        optimizer.zero_grad()
        F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:]).backward()
        optimizer.step()
    assert F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:]).item() < 0.05
    return bench.run_of(model, tokenizer)


def test_a_model_that_learned_a_text_by_heart_is_found_out(bench, tokenizer, by_heart):
    ids = [*tokenizer.encode(STORY), tokenizer.end_of_text]
    other = tokenizer.encode("The dog is happy and the cats were sad. " * 30)
    texts = Texts(bench.split_of(ids, shards=3), bench.split_of(other, name="validation"))
    score = memorisation(bench.subject_of(by_heart, texts, samples=6))
    assert score.value == 1.0
    assert score.chance == 0.0
    assert score.count == 6
    assert score.details["longest run, characters"] > len(STORY) / 2


def test_the_same_model_beside_another_text_is_innocent(bench, tokenizer, by_heart):
    other = bench.split_of(tokenizer.encode("The dog is happy and the cats were sad. " * 30))
    score = memorisation(bench.subject_of(by_heart, Texts(other, other), samples=6))
    assert score.value == 0.0
    assert score.chance == 1.0
    assert score.details["longest run, tokens"] < 10


def test_a_run_that_writes_next_to_nothing_is_refused(bench, tokenizer):
    """An untrained model that almost surely ends each text at once."""
    model = bench.untrained(tokenizer)
    torch.nn.init.zeros_(model.final_norm.weight)
    end = torch.zeros(tokenizer.vocab_size)
    end[tokenizer.end_of_text] = 50.0
    model.head = torch.nn.Linear(model.config.n_embd, tokenizer.vocab_size)
    model.head.bias.data.copy_(end)
    text = bench.split_of(tokenizer.encode("The dog is happy."))
    with pytest.raises(EvaluationError, match="no text of 13 words"):
        memorisation(bench.subject_of(bench.run_of(model, tokenizer), Texts(text, text), samples=2))
