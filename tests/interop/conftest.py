"""Runs with random weights and their own tokenizer, made in a separate folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.interop.imports import Arrival, settle
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.runs.directory import RunDirectory
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "architectures"))

TEXT = "The cat sat on the mat. It's 12345 o'clock; naïve café!\n\tA dog, a log.\n\n" * 40
MakeRun = Callable[..., RunDirectory]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLASSGPT_RUNS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.fixture(scope="session")
def tokenizer() -> FastTokenizer:
    return train_small()


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., FastTokenizer]:
    """A function that trains a tokenizer of up to 300 ids."""
    return train_small


def train_small(**settings: Any) -> FastTokenizer:
    return train_tokenizer([TEXT], TokenizerConfig(**{"vocab_size": 300, **settings}))


@pytest.fixture(scope="session")
def chat_tokenizer(tokenizer: FastTokenizer) -> FastTokenizer:
    """The same with the special tokens `<|im_start|>` and `<|im_end|>`."""
    content = json.loads(tokenizer.json)
    first = tokenizer.vocab_size
    for id, name in enumerate(("<|im_start|>", "<|im_end|>"), start=first):
        content["added_tokens"].append(content["added_tokens"][0] | {"id": id, "content": name})
    return FastTokenizer.from_json(json.dumps(content))


@pytest.fixture
def make_run(tokenizer: FastTokenizer) -> MakeRun:
    """A function that makes a run with random weights: two layers, and some more ids than the tokenizer has."""

    def make(name: str = "tiny", own: FastTokenizer | None = None, **settings: Any) -> RunDirectory:
        own = own or tokenizer
        base = {
            "vocab_size": own.vocab_size + 5,
            "context_length": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_embd": 64,
        }
        config = ModelConfig(**{**base, **settings})
        weights = random_weights(config)
        arrival = Arrival(name, "test", config, own, weights.__getitem__, (), begin=own.begin_ids())
        return settle(arrival, name)

    return make


def random_weights(config: ModelConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    model = GPT(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.15)
            parameter.add_(float("norm" in name and name.endswith("weight")))
    return model.state_dict()
