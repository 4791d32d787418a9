"""Small models of many kinds, whose weights are large enough that every part matters; and a run that was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.runs.opening import Run, open_run
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig
from tests.fixtures.places import trained_in

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
SHAPE = {"vocab_size": 23, "context_length": 16, "n_layer": 3, "n_head": 4, "n_embd": 16}
KINDS: dict[str, dict[str, Any]] = {
    "usual": {},
    "gpt2": {
        "positions": "learned", "norm": "layernorm", "activation": "gelu_tanh", "qk_norm": False, "qkv_bias": True,
        "attention_bias": True, "mlp_bias": True, "norm_bias": True,
    },
    "grouped": {"n_kv_head": 2, "tied_head": False, "head_bias": True, "n_head_dim": 6},
    "sliding": {"attention": "sliding", "window": 3, "positions": "sinusoidal"},
    "strided": {"attention": "strided", "stride": 3, "positions": "none", "activation": "relu"},
}  # fmt: skip

CONFIG = RunConfig(
    corpus=CorpusConfig(sources=("builtin:tinytales:60:1",)),
    tokenizer=TokenizerConfig(kind="bpe", vocab_size=300),
    model=ModelConfig(context_length=48, n_layer=2, n_head=2, n_embd=16),
    training=TrainingConfig(
        steps=12, evaluate_every=4, log_every=2, batch_size=4, evaluate_tokens=512, warmup_steps=2,
        learning_rate=0.01, threads=1, precision="float32", device="cpu",
    ),
)  # fmt: skip


def model_of(kind: str, **other: Any) -> GPT:
    """Return a model whose weights are far from their beginning."""
    torch.manual_seed(0)
    model = GPT(ModelConfig(**(SHAPE | KINDS[kind] | other))).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.add_(torch.randn_like(weight) * 0.3)
    return model


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> GPT:
    """One model of each kind."""
    return model_of(request.param)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was trained for a few steps on the built-in stories."""
    return trained_in(tmp_path_factory.mktemp("inspected"), CONFIG, "first").path


@pytest.fixture
def run(trained: Path) -> Run:
    """The trained run, opened."""
    return open_run(str(trained))
