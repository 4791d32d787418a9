"""A small base run on the built-in stories, and small files of records; each test works on its own copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from glassgpt.model.config import ModelConfig
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig
from tests.fixtures.places import trained_in

BASE = RunConfig(
    corpus=CorpusConfig(sources=("builtin:tinytales:400:1",)),
    tokenizer=TokenizerConfig(kind="bpe", vocab_size=400),
    model=ModelConfig(context_length=96, n_layer=2, n_head=2, n_embd=32),
    training=TrainingConfig(
        steps=30, evaluate_every=30, sample_every=0, batch_size=4, evaluate_tokens=512, warmup_steps=2,
        learning_rate=0.01, threads=1, precision="float32", device="cpu", order="documents",
    ),
    samples=PromptsConfig(prompts=("",), max_tokens=8),
)  # fmt: skip
THINGS = ("boat", "cake", "kite", "drum", "hat", "ball", "shoe", "spoon", "lamp", "bell", "book", "ring")


@pytest.fixture(scope="session")
def trained_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds `runs/base` and `cache`. Copy it, never change it."""
    root = tmp_path_factory.mktemp("base")
    trained_in(root, BASE, "base")
    return root


@pytest.fixture
def here(trained_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a copy of the run `base`, and files of records."""
    shutil.copytree(trained_base / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("GLASSGPT_CACHE", str(trained_base / "cache"))
    asked = [{"instruction": f"Name a {thing}.", "output": f"A red {thing}."} for thing in THINGS]
    write(tmp_path / "asked.json", asked)
    write(
        tmp_path / "liked.json",
        [
            {"prompt": record["instruction"], "chosen": record["output"], "rejected": "No."}
            for record in asked
        ],
    )
    moods = [{"text": f"The {thing} is {word}.", "label": label} for thing in THINGS
             for word, label in (("good", "glad"), ("lost", "sad"))]  # fmt: skip
    (tmp_path / "moods.jsonl").write_text("".join(json.dumps(row) + "\n" for row in moods))
    return tmp_path


def write(path: Path, records: list) -> None:
    path.write_text(json.dumps(records), encoding="utf-8")
