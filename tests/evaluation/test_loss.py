"""The measured loss against a sum by hand, against `transformers`, and against exact values from theory."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch

from glassgpt.dataset import shards
from glassgpt.dataset.shards import TokenSplit
from glassgpt.errors import DatasetError, EvaluationError
from glassgpt.evaluation.loss import Evaluation, Unknown, evaluate, refuse_no_figure, unknown_in
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.training.losses import perplexity

os.environ.setdefault("HF_HUB_OFFLINE", "1")

V, CONTEXT = 29, 8
END = 28  # the special token: it stands for no text


def split_of(ids: list[int] | np.ndarray, *, text_bytes: int = 0, shards: int = 1) -> TokenSplit:
    """A split over several shards, as on disk."""
    parts = np.array_split(np.asarray(ids, dtype="<u2"), shards)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return TokenSplit("validation", tuple(parts), starts, text_bytes, documents=1)


def random_ids(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, length)


def make(**settings) -> GPT:
    torch.manual_seed(1)
    model = GPT(
        ModelConfig(vocab_size=V, context_length=16, n_layer=2, n_head=2, n_embd=16, **settings)
    ).eval()
    torch.nn.init.normal_(model.token_embedding.weight, std=0.4)
    return model


@torch.no_grad()
def by_hand(model: GPT, ids: np.ndarray, starts: list[int]) -> list[float]:
    """Minus the log-probability of each next token, window by window, one at a time."""
    losses = []
    for start in starts:
        window = torch.tensor(ids[start : start + CONTEXT + 1].astype(np.int64))
        logits = model(window[None, :-1])[0].double()
        for place in range(CONTEXT):
            losses.append(-torch.log_softmax(logits[place], -1)[window[place + 1]].item())
    return losses


@pytest.mark.parametrize("shards", [1, 5])
@pytest.mark.parametrize("batch_tokens", [1, 24, 16_384])
def test_the_loss_is_the_mean_over_all_windows(shards, batch_tokens):
    ids, model = random_ids(70), make()
    result = evaluate(
        model,
        split_of(ids, shards=shards),
        context_length=CONTEXT,
        max_tokens=10**9,
        batch_tokens=batch_tokens,
    )
    losses = by_hand(model, ids, list(range(0, 64, CONTEXT)))  # 8 windows of 8, and the target after the last
    assert result.tokens == len(losses) == 64
    assert result.loss == pytest.approx(sum(losses) / 64, rel=1e-6)
    assert result.perplexity == pytest.approx(
        math.prod(math.exp(loss) for loss in losses) ** (1 / 64), rel=1e-5
    )


def test_the_loss_is_that_of_transformers(gpt2_as_ours):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    reference = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=V, n_positions=16, n_layer=2, n_head=2, n_embd=16)
    ).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(std=0.3)
    model = gpt2_as_ours(reference)
    ids = random_ids(49)
    windows = torch.tensor(np.stack([ids[start : start + 9] for start in range(0, 48, 8)]))
    with torch.no_grad():
        expected = reference(input_ids=windows, labels=windows).loss.item()
    result = evaluate(model, split_of(ids), context_length=8, max_tokens=10**9)
    assert result.tokens == 48
    assert result.loss == pytest.approx(expected, rel=1e-5)


def test_a_model_that_knows_nothing_loses_exactly_log_v():
    model = make()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    result = evaluate(model, split_of(random_ids(100)), context_length=CONTEXT, max_tokens=10**9)
    assert result.loss == pytest.approx(math.log(V), rel=1e-7)
    assert result.perplexity == pytest.approx(V, rel=1e-6)


def test_bits_per_byte_by_hand():
    """Ids 0-9 stand for 1 byte, 10-27 for 3, the special token for none, although predicting it also costs."""
    lengths = np.array([1] * 10 + [3] * 18 + [0])
    ids, model = random_ids(33, seed=4), make()
    ids[5] = ids[20] = END
    result = evaluate(model, split_of(ids), context_length=CONTEXT, max_tokens=10**9, byte_lengths=lengths)
    losses = by_hand(model, ids, [0, 8, 16, 24])
    text_bytes = sum(1 if id < 10 else 3 for id in ids[1:] if id != END)  # the first is never guessed
    assert result.text_bytes == text_bytes
    assert result.bits_per_byte == pytest.approx(sum(losses) / math.log(2) / text_bytes, rel=1e-6)


UNKNOWN = 27


def test_unknown_tokens_are_charged_for_what_they_stand_for():
    """Two unknown tokens stand for the 10 bytes of no other token; 8 bits are added for each byte, as if spelled out.

    They were easy to predict and counted as any text, so a vocabulary that left much out looked better.
    """
    lengths = np.array([1] * 27 + [0, 0])
    ids, model = random_ids(33, seed=4) % UNKNOWN, make()
    ids[5] = ids[20] = UNKNOWN
    split = split_of(ids, text_bytes=31 + 10)
    unknown = unknown_in(split, UNKNOWN, lengths)
    assert unknown == Unknown(UNKNOWN, 5.0)
    result = evaluate(
        model, split, context_length=CONTEXT, max_tokens=10**9, byte_lengths=lengths, unknown=unknown
    )
    losses = by_hand(model, ids, [0, 8, 16, 24])
    assert (result.unknown, result.unknown_bytes, result.text_bytes) == (2, 10, 30 + 10)
    expected = (sum(losses) / math.log(2) + 80) / 40
    assert result.bits_per_byte == pytest.approx(expected, rel=1e-6)
    assert unknown_in(split_of(random_ids(33) % 10), UNKNOWN, lengths) is None
    assert unknown_in(split, None, lengths) is None


def test_a_vocabulary_that_knows_nothing_looks_no_better_than_the_bytes_themselves():
    split = split_of([UNKNOWN] * 33, text_bytes=99)
    lengths = np.zeros(V, np.int64)
    unknown = unknown_in(split, UNKNOWN, lengths)
    result = evaluate(
        make(), split, context_length=CONTEXT, max_tokens=10**9, byte_lengths=lengths, unknown=unknown
    )
    assert result.bits_per_byte is not None
    assert result.bits_per_byte > 8
    with pytest.raises(EvaluationError, match=r"no figure for x: 32 of 32 characters \(100.00%\) are not in"):
        refuse_no_figure(result, "char", "x")


def test_no_text_has_no_figure():
    """A text of one character was once measured at 8.4e9 bits per byte, because only its end was predicted."""
    result = Evaluation(loss=3.0, tokens=1, text_bytes=0)
    assert result.bits_per_byte is None
    with pytest.raises(EvaluationError, match="no part of its text can be predicted"):
        refuse_no_figure(result, "char", "b1.txt")


def test_ids_are_counted_over_shards(monkeypatch):
    monkeypatch.setattr(shards, "COUNTED_AT_ONCE", 7)
    ids = random_ids(100)
    assert split_of(ids, shards=3).counts(V).tolist() == [int((ids == id).sum()) for id in range(V)]


def test_bits_per_byte_of_a_uniform_model_of_bytes_is_the_log_of_the_vocabulary():
    result = Evaluation(loss=math.log(256), tokens=1000, text_bytes=1000)
    assert result.bits_per_byte == pytest.approx(8)


def test_without_byte_lengths_the_average_of_the_split_is_taken():
    split = split_of(random_ids(33), text_bytes=66)
    result = evaluate(make(), split, context_length=CONTEXT, max_tokens=10**9)
    assert result.text_bytes == pytest.approx(32 * 2)


def test_the_windows_are_fixed_and_spread_evenly():
    """10 windows fit; 3 of them are measured: those that begin at 0, 3 and 6 tenths."""
    ids, model = random_ids(81), make()
    results = [
        evaluate(model, split_of(ids), context_length=CONTEXT, max_tokens=3 * CONTEXT) for _ in range(2)
    ]
    assert results[0] == results[1]
    assert results[0].tokens == 24
    losses = by_hand(model, ids, [0 * CONTEXT, 3 * CONTEXT, 6 * CONTEXT])
    assert results[0].loss == pytest.approx(sum(losses) / 24, rel=1e-6)
    one = evaluate(model, split_of(ids), context_length=CONTEXT, max_tokens=1)  # never none at all
    assert one.tokens == CONTEXT


def test_neither_the_random_state_nor_the_mode_is_disturbed():
    split, model = split_of(random_ids(50)), make(dropout=0.5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    results = []
    for training in (False, True):
        model.train(training)
        results.append(evaluate(model, split, context_length=CONTEXT, max_tokens=100))
        assert model.training is training
    assert results[0] == results[1]  # dropout is off
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mode_comes_back_when_measuring_fails():
    model = make().train()
    with pytest.raises(Exception, match="vocabulary"):
        evaluate(model, split_of([V + 5] * 20), context_length=CONTEXT, max_tokens=100)
    assert model.training


@pytest.mark.parametrize("loss", [710.0, 5000.0, math.inf, math.nan])
def test_a_hopeless_loss_has_no_perplexity(loss: float):
    """Two places once had different limits: one gave infinity, which is not JSON, the other a number of 304 digits."""
    assert Evaluation(loss, 1, 1).perplexity is None
    assert perplexity(loss) is None
    assert perplexity(709.0) == pytest.approx(math.exp(709.0))


def test_a_split_shorter_than_a_window_is_refused():
    with pytest.raises(DatasetError, match="too few for one window of 8"):
        evaluate(make(), split_of(random_ids(8)), context_length=CONTEXT, max_tokens=100)


def test_lower_precision_stays_near():
    ids, model = split_of(random_ids(200)), make()
    full, half = (
        evaluate(model, ids, context_length=CONTEXT, max_tokens=10**9, precision=precision)
        for precision in (torch.float32, torch.bfloat16)
    )
    assert half.loss != full.loss
    assert half.loss == pytest.approx(full.loss, rel=0.02)


def test_whole_documents_are_measured_as_if_each_group_stood_alone() -> None:
    """Three documents of 3, 2 and 6 tokens after the first: windows of 8 hold (3 + 2) and (6)."""
    model = make()
    documents = [[1, 2], [3, 4, 5], [6, 7], [8, 9, 10, 11, 12, 13]]
    ids = [token for document in documents for token in [*document, END]]
    result = evaluate(model, split_of(ids), context_length=CONTEXT, max_tokens=10**9, documents=END)
    losses = []
    for group in ([END, 3, 4, 5, END, 6, 7, END], [END, 8, 9, 10, 11, 12, 13, END]):
        window = torch.tensor(group)
        with torch.no_grad():
            chances = torch.log_softmax(model(window[None, :-1])[0].double(), -1)
        losses += [-chances[place, target].item() for place, target in enumerate(group[1:])]
    assert result.tokens == len(losses) == 14
    assert result.loss == pytest.approx(sum(losses) / 14, rel=1e-6)
