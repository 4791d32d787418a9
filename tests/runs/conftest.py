"""A real run, trained once for a few steps on the built-in stories; each test gets its own copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from glassgpt.model.config import ModelConfig
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig
from tests.fixtures.places import trained_in

CONFIG = RunConfig(
    corpus=CorpusConfig(sources=("builtin:tinytales:60:1",)),
    tokenizer=TokenizerConfig(kind="bpe", vocab_size=300),
    model=ModelConfig(context_length=32, n_layer=2, n_head=2, n_embd=16),
    training=TrainingConfig(
        steps=12, evaluate_every=4, log_every=2, batch_size=4, evaluate_tokens=512, warmup_steps=2,
        learning_rate=0.01, threads=1, precision="float32", device="cpu",
    ),
    samples=PromptsConfig(prompts=("", "Once"), max_tokens=24),
)  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run called `first`; `../../cache` holds what it was trained on."""
    return trained_in(tmp_path_factory.mktemp("trained"), CONFIG, "first").path


@pytest.fixture
def runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for runs, and another one as the current folder."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("GLASSGPT_RUNS", str(folder))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return folder


@pytest.fixture
def run(trained: Path, runs_here: Path) -> RunDirectory:
    """A copy of the trained run that a test may change and damage."""
    return RunDirectory(Path(shutil.copytree(trained, runs_here / "first")))
