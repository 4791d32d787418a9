"""Runs whose behaviour is known beforehand: untrained ones, and ones that follow a rule written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import to_builtins
from torch import Tensor

from glassgpt.dataset.shards import TokenSplit
from glassgpt.evaluation.score import Subject, Texts
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import DataFacts
from glassgpt.runs.lineage import new_lineage
from glassgpt.runs.opening import Run
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer

TEXT = (
    "The dog is happy and the cats were sad. These birds and this bear, a boy and two girls, an apple, she, he, her, "
    'him. Lily wanted to play with Ben? "Where is the red ball?" asked Anna and Tom. Rose and Jack, Mia and Leo. '
)


class RuleModel(GPT):
    """A model whose logits follow from the ids by a rule: (B, T) to (B, T, V).

    The hidden states are the logits themselves, and the head leaves them unchanged.
    """

    def __init__(self, rule: Callable[[Tensor], Tensor], vocab_size: int, context_length: int) -> None:
        super().__init__(
            ModelConfig(
                vocab_size=vocab_size, context_length=context_length, n_layer=1, n_head=1, n_embd=vocab_size,
                positions="none", tied_head=False,
            )
        )  # fmt: skip
        self.rule = rule
        self.load_state_dict({**self.state_dict(), "head.weight": torch.eye(vocab_size)})

    def hidden(self, ids_BT: Tensor, cache: object = None, segments_BT: object = None) -> Tensor:
        return self.rule(ids_BT)


@pytest.fixture(scope="session")
def tokenizer() -> FastTokenizer:
    return train_tokenizer([TEXT * 20], TokenizerConfig(kind="bpe", vocab_size=300))


@pytest.fixture(scope="session")
def char_tokenizer() -> FastTokenizer:
    return train_tokenizer(["abc \n"], TokenizerConfig(kind="char"))


class Bench:
    """Makes runs, texts and models; tests have it as the fixture `bench`."""

    @staticmethod
    def rule_model(rule: Callable[[Tensor], Tensor], vocab_size: int, context_length: int = 256) -> RuleModel:
        return RuleModel(rule, vocab_size, context_length)

    @staticmethod
    def split_of(ids: list[int] | np.ndarray, *, shards: int = 1, name: str = "train") -> TokenSplit:
        """A split over several shards, as on disk."""
        parts = np.array_split(np.asarray(ids, dtype="<u2"), shards)
        starts = np.cumsum([0, *(len(part) for part in parts)])
        return TokenSplit(name, tuple(parts), starts, text_bytes=0, documents=1)

    @staticmethod
    def run_of(
        model: GPT, tokenizer: FastTokenizer, *, documents: int = 2, sources: tuple[str, ...] = ("x",)
    ) -> Run:
        config = RunConfig(corpus=CorpusConfig(sources=sources), model=model.config)
        data = DataFacts(sources=[], documents=documents, splits={})
        lineage = new_lineage(tokenizer, kind="pretraining", parameters=0, data=to_builtins(data))
        return Run(RunDirectory(Path("nowhere")), config, model.eval(), tokenizer, lineage)

    @staticmethod
    def subject_of(run: Run, texts: Texts | None = None, *, samples: int = 20, seed: int = 0) -> Subject:
        def given() -> Texts:
            assert texts is not None
            return texts

        return Subject(run, given, seed, samples)

    @staticmethod
    def untrained(tokenizer: FastTokenizer, *, context_length: int = 256, seed: int = 0) -> GPT:
        torch.manual_seed(seed)
        return GPT(
            ModelConfig(
                vocab_size=tokenizer.vocab_size, context_length=context_length, n_layer=1, n_head=2, n_embd=16
            )
        )

    @staticmethod
    def unigram(tokenizer: FastTokenizer, *, seed: int = 0, context_length: int = 256) -> RuleModel:
        """A model that prefers some tokens to others, whatever comes before."""
        v = tokenizer.vocab_size
        liking = torch.randn(v, generator=torch.Generator().manual_seed(seed))
        return RuleModel(lambda ids: liking.expand(*ids.shape, v), v, context_length)

    @staticmethod
    def copier(vocab_size: int, context_length: int = 256) -> RuleModel:
        """A model that finds where the last token occurred before, and expects what followed it there."""

        def rule(ids_BT: Tensor) -> Tensor:
            logits = torch.zeros(*ids_BT.shape, vocab_size)
            for row, ids in zip(logits, ids_BT.tolist(), strict=True):
                for place, id in enumerate(ids):
                    for earlier in range(place):
                        if ids[earlier] == id:
                            row[place] = 0
                            row[place, ids[earlier + 1]] = 20
            return logits

        return RuleModel(rule, vocab_size, context_length)


@pytest.fixture(scope="session")
def bench() -> type[Bench]:
    return Bench
