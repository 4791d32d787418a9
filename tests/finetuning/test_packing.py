"""Packing: nothing is lost, little is wasted, and an example in a row has the same loss as alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.chat.templates import make_template
from glassgpt.device import World
from glassgpt.errors import ConfigError
from glassgpt.finetuning.examples import IGNORE, Example, Fitting
from glassgpt.finetuning.losses import answer_loss
from glassgpt.finetuning.packing import best_fit, pack, pad
from glassgpt.finetuning.records import read_conversations
from glassgpt.finetuning.rows import RowBatches
from glassgpt.finetuning.vocabulary import grow
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.presets import GPT2_SMALL

SMALL = ModelConfig(vocab_size=50, context_length=32, n_layer=2, n_head=2, n_embd=16)


@given(lengths=st.lists(st.integers(1, 40), max_size=60), capacity=st.integers(40, 100))
def test_every_item_is_in_one_group_that_holds_it(lengths: list[int], capacity: int) -> None:
    groups = best_fit(lengths, capacity)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    sums = [sum(lengths[index] for index in group) for group in groups]
    assert all(total <= capacity for total in sums)
    # No two groups fit into one, so at most one is half empty.
    assert sum(total * 2 <= capacity for total in sums) <= 1


def examples(count: int, seed: int = 0) -> list[Example]:
    chance = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        length = int(chance.integers(3, 20))
        learned = chance.random(length) < 0.5
        learned[-1] = True
        made.append(Example(chance.integers(0, 50, length), learned))
    return made


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, attention="sliding", window=4),
        replace(SMALL, positions="sinusoidal"),
        replace(GPT2_SMALL, vocab_size=50, context_length=32, n_layer=2, n_head=2, n_embd=16, dropout=0.0),
    ],
)
def test_a_packed_example_has_the_loss_it_has_alone(config: ModelConfig) -> None:
    torch.manual_seed(0)
    model = GPT(config).double().eval()
    made = examples(12)
    rows = pack(made, 32)
    assert len(rows.inputs) < len(made)
    together = answer_loss(model, rows.inputs, rows.segments, rows.targets)
    nats, count = 0.0, 0
    for example in made:
        inputs, targets = torch.tensor(example.inputs)[None], torch.tensor(example.targets)[None]
        alone = answer_loss(model, inputs, torch.zeros_like(inputs), targets)
        counted = int((targets != IGNORE).sum())
        nats, count = nats + alone.item() * counted, count + counted
    assert together.item() == pytest.approx(nats / count, rel=1e-6)


def test_no_token_sees_another_example() -> None:
    """Changing one example of a row changes nothing about its neighbours."""
    torch.manual_seed(0)
    model = GPT(SMALL).eval()
    ids = torch.randint(0, 50, (1, 12))
    segments = torch.tensor([[0] * 5 + [1] * 7])
    before = model.hidden(ids, segments_BT=segments)
    ids[0, :5] = (ids[0, :5] + 1) % 50
    after = model.hidden(ids, segments_BT=segments)
    assert torch.equal(before[0, 5:], after[0, 5:])
    assert not torch.equal(before[0, :5], after[0, :5])


def test_the_real_instructions_waste_less_than_a_twentieth(shared_data: Path) -> None:
    from glassgpt.tokenizers.config import TokenizerConfig
    from glassgpt.tokenizers.train import train_tokenizer

    conversations = read_conversations([shared_data / "instructions.json"])
    texts = [message.content for each in conversations for message in each.messages]
    tokenizer = train_tokenizer(texts, TokenizerConfig(vocab_size=1024))
    fitting = Fitting(tokenizer, make_template("alpaca", tokenizer), 256)
    rows = pack(fitting.examples((each.messages, each.source) for each in conversations), 256)
    assert rows.wasted < 0.05
    assert rows.examples == 1100


def test_padding_keeps_the_values() -> None:
    assert pad([np.array([1, 2, 3]), np.array([4])], 9).tolist() == [[1, 2, 3], [4, 9, 9]]


@given(count=st.integers(1, 40), batch=st.integers(1, 8), seed=st.integers(0, 9))
def test_each_epoch_sees_each_row_once(count: int, batch: int, seed: int) -> None:
    batches = RowBatches((torch.arange(count)[:, None],), batch, seed)
    seen = [id for step in range(count) for id in batches.at(step)[0].flatten().tolist()]
    for epoch in range(batch):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_processes_share_a_batch() -> None:
    tensors = (torch.arange(10)[:, None], torch.arange(10))
    whole = RowBatches(tensors, 4).at(3)[1].tolist()
    shares = [RowBatches(tensors, 4, world=World(rank, 2, rank, 2)).at(3)[1].tolist() for rank in range(2)]
    assert shares[0] + shares[1] == whole
    with pytest.raises(ConfigError, match="cannot be shared evenly"):
        RowBatches(tensors, 3, world=World(0, 2, 0, 2))


@pytest.mark.parametrize("tied", [True, False])
def test_a_grown_model_predicts_the_old_words_as_before(tied: bool) -> None:
    torch.manual_seed(0)
    model = GPT(replace(SMALL, tied_head=tied)).eval()
    ids = torch.randint(0, 50, (2, 9))
    before = model(ids)
    rows = model.token_embedding.weight.detach().clone()
    grown = grow(model, 52)
    assert grown.config.vocab_size == 52
    torch.testing.assert_close(grown(ids)[..., :50], before, rtol=0, atol=1e-6)
    torch.testing.assert_close(grown.token_embedding.weight[51], rows.mean(0))
    # A new token is as likely as the average old one, never likelier than all of them.
    assert (grown(ids)[..., 50:].amax(-1) < before.amax(-1)).all()
    assert grow(grown, 40) is grown
    assert GPT(grown.config).load_state_dict(grown.state_dict())
