"""Heads whose pattern is known get its label with a score of 1; scores are those of plain loops."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from glassgpt.errors import InspectionError
from glassgpt.inspection.attention import Pair
from glassgpt.inspection.heads import PATTERNS, label_heads, predicted
from glassgpt.model.attention import using
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.points import looking
from tests.inspection.conftest import IDS, model_of

VOCABULARY, CONTEXT = 16, 21
TOKEN, PLACE, BEFORE, NEXT = (
    slice(0, 16), slice(16, 37), slice(37, 53), slice(53, 69)
)  # fmt: skip
"""The parts of the residual stream: token, place, token before, and token to come, each a one-hot vector."""
START = 15
"""Texts begin with it."""
REPEATS = [START, 1, 2, 3, 4, 1, 2]


def copier() -> GPT:
    """Return a model that copies by induction, whose weights are set by hand.

    Layer 0: head 0 attends to the token before and writes down which it is, head 1 to the first token, head 2 to an
    earlier occurrence of the token, head 3 to all tokens. Layer 1: head 0 attends to the key whose token before is the
    current token, and writes down the key's token as the one to come. Where there is no such key, it rests on the first
    token and writes nothing. The other heads attend to all tokens.
    """
    model = GPT(
        ModelConfig(
            vocab_size=VOCABULARY, context_length=CONTEXT, n_layer=2, n_head=4, n_head_dim=40, n_embd=69,
            positions="learned", qk_norm=False, tied_head=False, activation="gelu",
        )
    ).eval().requires_grad_(False)  # fmt: skip
    for parameter in model.parameters():
        parameter.zero_()
    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            module.weight.fill_(1)
    model.token_embedding.weight[:, TOKEN] = torch.eye(VOCABULARY)
    model.position_embedding.weight[:, PLACE] = torch.eye(CONTEXT)
    assert isinstance(model.head, nn.Linear)
    model.head.weight[:, NEXT] = 4 * torch.eye(VOCABULARY)

    large, tokens, places = 1000.0, slice(0, 16), slice(16, 37)  # the numbers of a head
    queries, keys, _ = parts(model, 0, 0)
    for place in range(1, CONTEXT):
        queries[place - 1, 16 + place] = large
    keys[:21, PLACE] = torch.eye(21)
    copies(model, 0, 0, TOKEN, BEFORE, 2)

    queries, keys, _ = parts(model, 0, 1)
    queries[0, PLACE] = large
    keys[0, 16] = 1

    # Equal tokens score 1, the token itself 1 - 0.5, others 0: without an earlier one, it attends to itself.
    queries, keys, _ = parts(model, 0, 2)
    queries[tokens, TOKEN], queries[places, PLACE] = large * torch.eye(16), large * torch.eye(21)
    keys[tokens, TOKEN], keys[places, PLACE] = torch.eye(16), -0.5 * torch.eye(21)

    queries, keys, _ = parts(model, 1, 0)
    queries[tokens, TOKEN], queries[16, PLACE] = large * torch.eye(16), large
    keys[tokens, BEFORE], keys[16, PLACE.start] = torch.eye(16), 0.5
    copies(model, 1, 0, TOKEN, NEXT, 3)
    parts(model, 1, 0)[2][START] = 0
    return model


def parts(model: GPT, layer: int, head: int) -> list[Tensor]:
    """Return views of a head's rows of the weights of queries, keys and values."""
    width = model.config.head_dim
    thirds = model.blocks[layer].attention.qkv.weight.chunk(3)
    return [third[head * width : (head + 1) * width] for third in thirds]


def copies(model: GPT, layer: int, head: int, read: slice, written: slice, square: int) -> None:
    """Let a head copy a part of the stream to another part; `square` is the stream's squared length."""
    parts(model, layer, head)[2][:16, read] = torch.eye(16) * (square / model.config.n_embd) ** 0.5
    start = head * model.config.head_dim
    model.blocks[layer].attention.output.weight[written, start : start + 16] = torch.eye(16)


def known(pattern: str, ids: list[int], query: int) -> set[int]:
    """The keys that a pattern predicts, found by looking through the text."""
    earlier = [place for place in range(query) if ids[place] == ids[query]]
    return {
        "previous": {query - 1} if query >= 2 else set(),
        "first": {0} if query >= 2 else set(),
        "same": set(earlier),
        "induction": {place + 1 for place in earlier} - {query},
    }[pattern]


def rows_read(model: GPT, call: Callable[[], object]) -> list[Tensor]:
    """The batches of ids that a call gives to the model."""
    found: list[Tensor] = []
    handle = model.token_embedding.register_forward_pre_hook(lambda _, ids: found.append(ids[0].clone()))
    call()
    handle.remove()
    return found


def test_heads_built_by_hand_get_their_labels() -> None:
    heads = label_heads(copier(), REPEATS)
    assert [(head.layer, head.head) for head in heads] == [
        (layer, head) for layer in (0, 1) for head in range(4)
    ]
    assert [head.label for head in heads] == [
        "previous",
        "first",
        "same",
        None,
        "induction",
        None,
        None,
        None,
    ]
    for head in heads:
        if head.label is not None:
            expected = {pattern: float(pattern == head.label) for pattern in PATTERNS}
            if head.label == "induction":
                expected["first"] = 3 / 5  # it rests at three of the five tokens from the third on
            assert head.scores == expected
    assert heads[0].evidence == Pair(2, 1, 1.0)
    assert heads[1].evidence == Pair(2, 0, 1.0)
    assert heads[2].evidence == Pair(5, 1, 1.0)
    assert heads[4].evidence == Pair(5, 2, 1.0)
    even = heads[3]
    assert even.evidence is None
    assert even.scores["previous"] == pytest.approx(sum(1 / n for n in range(3, 8)) / 5)
    assert even.scores["first"] == even.scores["previous"]
    assert even.scores["same"] == pytest.approx(sum(1 / n for n in range(12, 22)) / 10)


def test_the_copier_copies() -> None:
    """What the labels say is what the model does: the random row comes out again."""
    ids = [15, 3, 8, 1, 9, 4, 3, 8, 1, 9]
    logits = copier()(torch.tensor([ids]))[0]
    assert logits[6:].argmax(-1).tolist() == [8, 1, 9, 4]


def test_without_its_partner_the_induction_head_only_rests() -> None:
    """It rests on the first token everywhere. What is replaced in the model while heads are labelled stays replaced."""

    def see(_name: str, heads_BHTD: Tensor) -> Tensor:
        return heads_BHTD.index_fill(1, torch.tensor([0]), 0.0)

    model = copier()
    with looking(model, "blocks.0.heads", see=see):
        labels = [head.label for head in label_heads(model, REPEATS)]
    assert labels == ["previous", "first", "same", None, "first", None, None, None]
    assert label_heads(model, REPEATS)[4].label == "induction"


def test_scores_are_the_means_of_their_formula(model: GPT) -> None:
    found: list[list] = []
    rows = rows_read(model, lambda: found.append(label_heads(model, IDS, seed=3)))
    assert rows[0].tolist() == [IDS]
    expected: dict[str, Tensor] = {}
    for ids_BT, patterns in ((rows[0], PATTERNS[:2]), (rows[1], PATTERNS[2:])):
        weights: list[Tensor] = []
        with (
            using(model, "explicit"),
            looking(model, "blocks.*.weights", see=lambda _, value, kept=weights: kept.append(value)),
        ):
            model(ids_BT)
        for pattern in patterns:
            falls = []
            for row, ids in enumerate(ids_BT.tolist()):
                for query in range(len(ids)):
                    if keys := known(pattern, ids, query):
                        layers = [layer[row, :, query, sorted(keys)].double().sum(-1) for layer in weights]
                        falls.append(torch.stack(layers))
            expected[pattern] = torch.stack(falls).mean(0)
    for head in found[0]:
        for pattern in PATTERNS:
            assert head.scores[pattern] == pytest.approx(
                float(expected[pattern][head.layer, head.head]), abs=1e-5
            )
        others = [pattern for pattern in PATTERNS if pattern != "first" and head.scores[pattern] >= 0.4]
        resting = "first" if head.scores["first"] >= 0.4 else None
        assert head.label == (max(others, key=head.scores.__getitem__) if others else resting)


def test_evidence_is_the_largest_weight_that_the_label_predicts(model: GPT) -> None:
    """With a threshold of 0 each head has a label."""
    weights: list[Tensor] = []
    with using(model, "explicit"), looking(model, "blocks.*.weights", see=lambda _, w: weights.append(w[0])):
        model(torch.tensor([IDS]))
    for head in label_heads(model, IDS, threshold=0):
        assert head.label is not None
        pairs = [
            (float(weights[head.layer][head.head, query, key]), query, key)
            for query in range(len(IDS))
            for key in known(head.label, IDS, query)
        ]
        if head.evidence is None:
            assert max(pairs)[0] == 0
        else:
            assert head.evidence.weight == pytest.approx(max(pairs)[0], abs=1e-5)
            assert head.evidence.key in known(head.label, IDS, head.evidence.query)


def test_a_token_that_follows_itself_is_no_evidence_of_induction() -> None:
    """In `a a` the place after the earlier `a` is the query itself; even a head that attends to it shows nothing."""
    ids = torch.tensor([[5, 7, 7, 7]])
    found = predicted("induction", ids)[0].nonzero().tolist()
    assert found == [[3, 2]]
    assert predicted("same", ids)[0].nonzero().tolist() == [[2, 1], [3, 1], [3, 2]]
    assert not any(predicted(pattern, ids)[0].diagonal().any() for pattern in PATTERNS)


def test_rows_are_two_equal_halves_that_fit(model: GPT) -> None:
    length = {"full": 7, "sliding": 4, "strided": 4}[model.config.attention]
    rows = rows_read(model, lambda: label_heads(model, [5, *IDS], drawn=[*range(4, 14), 5, 5], seed=1))[1]
    assert rows.shape == (8, 1 + 2 * length)
    for row in rows.tolist():
        assert row[0] == 5
        half = row[1 : 1 + length]
        assert row[1 + length :] == half
        assert len(set(half)) == length
        assert set(half) <= set(range(4, 14)) - {5}
    again = rows_read(model, lambda: label_heads(model, [5, *IDS], drawn=range(4, 14), seed=1))[1]
    other = rows_read(model, lambda: label_heads(model, [5, *IDS], drawn=range(4, 14), seed=2))[1]
    assert torch.equal(rows, again)
    assert not torch.equal(rows, other)


def test_a_row_stays_within_a_window_that_is_wide_enough() -> None:
    model = model_of("sliding", context_length=64, window=9)
    assert rows_read(model, lambda: label_heads(model, IDS))[1].shape[1] == 17
    model = model_of("usual", context_length=128, vocab_size=100)
    assert rows_read(model, lambda: label_heads(model, IDS))[1].shape[1] == 101


def test_a_label_without_a_place_in_the_text_has_no_evidence() -> None:
    heads = label_heads(copier(), [15, 1, 2, 3])
    assert (heads[2].label, heads[2].evidence) == ("same", None)
    assert (heads[4].label, heads[4].evidence) == ("induction", None)
    assert heads[4].scores["first"] == 1  # it rests, which is not what it is named after
    assert heads[0].evidence == Pair(2, 1, 1.0)


def test_the_threshold_decides_about_the_label() -> None:
    model = copier()
    even = label_heads(model, REPEATS)[3].scores["previous"]
    assert label_heads(model, REPEATS, threshold=even)[3].label == "previous"
    assert label_heads(model, REPEATS, threshold=even + 1e-9)[3].label is None


def test_what_is_too_short_or_unknown_is_named() -> None:
    short = model_of("usual", context_length=8)
    with pytest.raises(InspectionError, match=r"context of 9 tokens \(the model has 8\)"):
        label_heads(short, IDS[:5])
    assert label_heads(model_of("usual", context_length=9), IDS[:5])
    model = model_of("usual")
    with pytest.raises(InspectionError, match=r"4 other ids to draw from \(there are 3\)"):
        label_heads(model, IDS, drawn=[3, 4, 5, 6])
    for id in (-1, 23):
        with pytest.raises(InspectionError, match=f"id {id} is outside the vocabulary"):
            label_heads(model, IDS, drawn=[*range(10), id])
    with pytest.raises(InspectionError, match="2 tokens, and this needs 3"):
        label_heads(model, [1, 2])
    with pytest.raises(InspectionError, match="17 tokens"):
        label_heads(model, [1] * 17)


def test_the_model_is_as_before() -> None:
    model = model_of("gpt2", dropout=0.5).train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    first, second = label_heads(model, IDS), label_heads(model, IDS)
    assert first == second
    assert model.training
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
