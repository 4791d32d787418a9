"""Plans from real measurements on any machine: they fit the machine, the text and the time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from glassgpt.corpus.cleaning import CleaningConfig
from glassgpt.corpus.splits import SplitConfig
from glassgpt.errors import CorpusError, TrainingError
from glassgpt.machine.facts import free_memory
from glassgpt.planning import plan as module
from glassgpt.planning.plan import Plan, make_plan
from glassgpt.planning.text import look_at
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig

TEXT = "the cat sat on a mat and saw how rain fell over old roofs while nobody spoke of it"
WORDS = TEXT.split()


def book(path: Path, size: int) -> Path:
    """A text of about this number of bytes."""
    words = [WORDS[(index * index + index // 7) % len(WORDS)] for index in range(size // 4)]
    path.write_text(" ".join(words)[:size])
    return path


def plan_for(path: Path, seconds: float, **training) -> Plan:
    config = RunConfig(
        corpus=CorpusConfig(sources=(str(path),)), training=TrainingConfig(precision="float32", **training)
    )
    return make_plan(config, seconds)


def test_looking_at_a_text_counts_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("äb<|endoftext|>cdef<|endoftext|>g")
    facts, short = look_at(RunConfig(corpus=CorpusConfig(sources=(str(tmp_path),)), split=SplitConfig(0.0)))
    assert (facts.bytes, facts.documents, facts.exact) == (3 + 4 + 1, 3, True)
    assert 3 <= facts.usual_bytes <= 4
    assert facts.words == 0  # no word occurs twice
    assert short is not None
    assert short.splits["train"] == [("äb", True), ("cdef", True), ("g", True)]


def test_a_text_is_looked_at_as_training_will_see_it(tmp_path: Path) -> None:
    """300 copies of a line were planned for as 300 lines, of which cleaning leaves one."""
    line = " ".join(WORDS * 3)
    (tmp_path / "copies.jsonl").write_text(f'{{"text": "{line}"}}\n' * 300)
    config = RunConfig(corpus=CorpusConfig(sources=(str(tmp_path / "copies.jsonl"),)))
    facts, _ = look_at(config)
    assert (facts.bytes, facts.documents) == (len(line), 1)
    assert facts.training_share == pytest.approx(0.9, abs=0.01)
    everything, _ = look_at(dataclasses.replace(config, cleaning=CleaningConfig("off")))
    assert everything.bytes == 300 * len(line)


def test_the_tokens_of_a_short_text_are_those_that_training_gets(tmp_path: Path) -> None:
    from glassgpt.pretraining.data import prepare_data

    config = RunConfig(corpus=CorpusConfig(sources=(str(book(tmp_path / "book.txt", 3_000)),)))
    facts, short = look_at(config)
    assert short is not None
    counted, vocab_size = short.tokenized(facts, config.tokenizer)
    data = prepare_data(config)
    assert counted.tokens == (len(data.shards.split("train")), len(data.shards.split("validation")))
    assert vocab_size == data.tokenizer.vocab_size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No text is left to train on"),
        (" \n \t" * 1500, "No text is left to train on"),
        ("x", "is held out to measure on"),
        ("the rain fell over old roofs again today", "too small to train on"),
        ("word" * 10, "too small to train on"),
    ],
)
def test_too_little_text_is_refused_with_what_is_needed(tmp_path: Path, text: str, said: str) -> None:
    """These ended in a division by zero, `training.seconds must be greater than 0`, or an impossible context."""
    (tmp_path / "tiny.txt").write_text(text)
    with pytest.raises((TrainingError, CorpusError), match=said) as caught:
        plan_for(tmp_path / "tiny.txt", 24.0)
    assert any(
        way in str(caught.value) for way in ("Give it at least about", "data inspect", "Give more text")
    )


@pytest.mark.parametrize("size", [400, 800, 1500, 3000, 6000, 20_000, 60_000])
def test_a_plan_for_a_small_text_is_small_and_can_be_trained(tmp_path: Path, size: int) -> None:
    """A plan for 800 bytes had 3.4 million parameters and one update."""
    path = book(tmp_path / "note.txt", size)
    plan = plan_for(path, 24.0)
    model, training = plan.config.model, plan.config.training
    facts, short = look_at(plan.config)
    assert short is not None
    tokens = short.tokenized(facts, plan.config.tokenizer)[0].tokens
    assert tokens is not None
    assert model.context_length < tokens[0]
    assert module.block_parameters(model) <= max(13_000, 2 * module.WEIGHTS_PER_BYTE * size)
    assert training.steps >= 10
    assert training.seconds is not None
    assert training.seconds >= module.LEAST_PACED


def test_a_long_text_is_judged_by_its_beginning(tmp_path: Path) -> None:
    book(tmp_path / "long.txt", 3_000_000)
    config = RunConfig(corpus=CorpusConfig(sources=(str(tmp_path / "long.txt"),)))
    facts, short = look_at(config, most_characters=1_000_000)
    assert short is None
    assert facts.bytes == 3_000_000
    assert not facts.exact


def test_a_plan_is_a_config_that_fits_its_time_and_memory(tmp_path: Path) -> None:
    plan = plan_for(book(tmp_path / "book.txt", 2_000_000), 30.0)
    training, model = plan.config.training, plan.config.model
    assert training.optimizer == "muon"
    assert training.seconds == pytest.approx(plan.seconds, abs=0.1)
    assert training.steps == pytest.approx(plan.seconds / plan.update_seconds, abs=1)
    assert model.vocab_size == plan.config.tokenizer.vocab_size
    assert plan.memory_bytes < free_memory(torch.device("cpu"))
    assert plan.parameters > 100_000
    chosen = min(plan.considered, key=lambda candidate: candidate.excess)
    assert chosen.model.n_embd == model.n_embd
    assert training.precision == "float32"


def test_more_time_never_plans_a_smaller_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's speed is fixed, so only the time differs."""

    def steady(model, training, _device, _precision):
        tokens = training.batch_size * model.context_length
        return module.flops_per_token(model) * tokens / 1e11

    monkeypatch.setattr(module, "seconds_per_update", steady)
    monkeypatch.setattr(module, "compiling_pays", lambda *_: 1.0)
    path = book(tmp_path / "book.txt", 8_000_000)
    plans = [plan_for(path, seconds) for seconds in (6, 30, 300, 3000, 30000)]
    sizes = [plan.config.model.n_embd for plan in plans]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert all(plan.config.training.steps >= module.LEAST_UPDATES for plan in plans)


def test_a_text_too_small_for_the_time_is_reported_and_not_memorized(tmp_path: Path) -> None:
    plan = plan_for(book(tmp_path / "note.txt", 15_000), 3600.0)
    assert plan.seconds < 3600
    assert plan.epochs == pytest.approx(module.MOST_EPOCHS)
    assert "too small for that time" in plan.notes[0]
    assert plan.config.training.patience > 0
    assert plan.config.model.dropout > 0


def test_too_little_time_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"2 s of training are too few.*--minutes 0.15 or more"):
        plan_for(book(tmp_path / "book.txt", 100_000), 2.0)


def test_a_named_vocabulary_is_kept(tmp_path: Path) -> None:
    from glassgpt.tokenizers.train import train_tokenizer

    tokenizer = train_tokenizer([" ".join(WORDS) * 50], TokenizerConfig(vocab_size=300))
    tokenizer.save(tmp_path / "tokenizer.json")
    config = RunConfig(
        corpus=CorpusConfig(sources=(str(book(tmp_path / "book.txt", 300_000)),)),
        tokenizer=TokenizerConfig(name=str(tmp_path / "tokenizer.json")),
        training=TrainingConfig(precision="float32"),
    )
    plan = make_plan(config, 6.0)
    assert plan.config.model.vocab_size == tokenizer.vocab_size
    assert plan.config.tokenizer == config.tokenizer
