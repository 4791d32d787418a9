"""Log-probabilities of texts against a sum by hand, one token at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import ConfigError
from glassgpt.evaluation.scoring import likelihoods, windows
from glassgpt.generation import likelihood
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

V, CONTEXT = 23, 8


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(3)
    model = GPT(ModelConfig(vocab_size=V, context_length=CONTEXT, n_layer=2, n_head=2, n_embd=16)).eval()
    torch.nn.init.normal_(model.token_embedding.weight, std=0.5)
    return model


@torch.no_grad()
def by_hand(model: GPT, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Each token from the longest context that fits, with one pass of the model for each."""
    total, greedy, ids = 0.0, True, list(context)
    for token in continuation:
        logits = model(torch.tensor([ids[-CONTEXT:]]))[0, -1].double()
        total += logits.log_softmax(0)[token].item()
        greedy &= int(logits.argmax()) == token
        ids.append(token)
    return total, greedy


def test_texts_scored_together_equal_texts_scored_alone(model):
    random = torch.Generator().manual_seed(0)
    sizes = [(1, 1), (1, 7), (5, 3), (4, 0), (2, 2), (7, 1), (3, 4)]
    pairs = [
        (
            torch.randint(V, (one,), generator=random).tolist(),
            torch.randint(V, (other,), generator=random).tolist(),
        )
        for one, other in sizes
    ]
    for batch_tokens in (1, 20, 10_000):
        found = likelihoods(model, pairs, batch_tokens=batch_tokens)
        for pair, of_pair in zip(pairs, found, strict=True):
            log_probability, greedy = by_hand(model, *pair)
            assert of_pair.log_probability == pytest.approx(log_probability, abs=1e-4)
            assert of_pair.greedy == greedy


def test_greedy_is_true_for_what_greedy_decoding_writes(model):
    ids = [4]
    for _ in range(6):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    other = [*ids[:-1], (ids[-1] + 1) % V]
    assert [found.greedy for found in likelihoods(model, [(ids[:1], ids[1:]), (other[:1], other[1:])])] == [
        True,
        False,
    ]


def test_a_context_that_is_too_long_loses_its_beginning(model):
    """As in lm-eval's own models: the last context_length + 1 tokens of both; the very last is only predicted."""
    context, continuation = [5, 1, 9, 2, 8, 3, 7, 4, 6, 0, 11], [12, 13, 14]
    kept = (context + continuation)[-(CONTEXT + 1) : -3]
    (whole,), (cut,) = (
        likelihoods(model, [(context, continuation)]),
        likelihoods(model, [(kept, continuation)]),
    )
    assert whole.log_probability == pytest.approx(cut.log_probability, abs=1e-5)


def test_few_logits_at_a_time_change_nothing(model, monkeypatch):
    pairs = [([1, 2], [3, 4, 5, 6]), ([7], [8, 9, 1, 2, 3])]
    before = likelihoods(model, pairs)
    monkeypatch.setattr(likelihood, "LOGITS_AT_ONCE", 2 * V)
    for one, other in zip(before, likelihoods(model, pairs), strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-5)


@given(st.integers(1, 30), st.integers(0, 40), st.integers(1, 9))
@settings(max_examples=200)
def test_windows_predict_each_token_once(before, length, context_length):
    context, continuation = list(range(before)), list(range(before, before + length))
    cut = windows(context, continuation, context_length)
    assert [id for window in cut for id in window.ids[len(window.ids) - window.scored :]] == continuation
    for window in cut:
        assert 1 <= window.scored < len(window.ids) <= context_length + 1
        assert window.ids == list(range(window.ids[0], window.ids[-1] + 1))  # nothing is skipped


def test_nothing_before_is_refused(model):
    with pytest.raises(ConfigError, match="at least one token before"):
        likelihoods(model, [([], [1])])


def test_the_mode_of_the_model_is_kept(model):
    model.train()
    likelihoods(model, [([1], [2])])
    assert model.training
    model.eval()
