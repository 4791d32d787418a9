"""The configs declare exactly the idle settings: nothing reads them, and whatever nothing reads is declared.

Tiny trainings with real texts check both. A setting without effect is found by its value: with any value, the run
ends with the same bits. A setting that is never read is found by a config that records reads.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from glassgpt import config as configs
from glassgpt.corpus.documents import Document
from glassgpt.corpus.splits import SplitConfig, split
from glassgpt.finetuning.run import start_finetuning
from glassgpt.idle import idle
from glassgpt.model.config import ModelConfig
from glassgpt.pretraining.run import start_run
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.train import train_tokenizer
from glassgpt.training.config import TrainingConfig
from tests.cli.test_idle_settings import CONFIGS, GIVEN, declared, recipe
from tests.finetuning.conftest import here, trained_base  # noqa: F401 - fixtures
from tests.finetuning.test_kinds import KINDS
from tests.finetuning.test_settings import offered, watched
from tests.fixtures.quick import quick

STORIES = [
    f"The {animal} sat on the {place} and saw {number} birds fly over the {place} of the {animal}."
    for animal in ("cat", "dog", "cow", "hen")
    for place in ("mat", "log", "hill", "roof")
    for number in range(2, 10)
]
MODEL = ModelConfig(context_length=16, n_layer=1, n_head=2, n_embd=16)
LOOP = {"steps": 3, "evaluate_every": 3, "batch_size": 2, "threads": 1, "precision": "float32", "device": "cpu",
        "warmup_steps": 1, "log_every": 1, "evaluate_tokens": 64}  # fmt: skip


def run_config(**sections: dict[str, Any]) -> RunConfig:
    """Return the config of a tiny training, with some settings changed."""
    base = RunConfig(
        corpus=CorpusConfig(sources=("stories.jsonl",)),
        tokenizer=TokenizerConfig(vocab_size=280),
        model=MODEL,
        training=TrainingConfig(**LOOP),
        samples=PromptsConfig(max_tokens=4),
    )
    parts = {name: dataclasses.replace(getattr(base, name), **values) for name, values in sections.items()}
    return dataclasses.replace(base, **parts)


# Together they give every choice the values that make another setting idle, and those that do not.
TRAININGS = {
    "plain": run_config(training={"epochs": 0.1, "sample_every": 0}),
    "greedy": run_config(
        training={"schedule": "constant"},
        samples={"temperature": 0.0},
        tokenizer={"kind": "char", "vocab_size": 0},
        model={"positions": "learned"},
    ),
    "named": run_config(
        training={"optimizer": "muon", "schedule": "wsd", "order": "windows", "stride": 8},
        tokenizer={"name": "tokenizer.json", "vocab_size": None},
        model={"rope_scaling": "linear", "rope_factor": 2.0, "dropout": 0.1},
    ),
    "strict": run_config(
        training={"optimizer": "muon", "schedule": "wsd", "order": "documents"},
        cleaning={"mode": "strict", "min_words": 3, "repetition": False},
        tokenizer={"kind": "wordpiece"},
        model={"rope_scaling": "llama3", "rope_original_length": 8},
    ),
}


@pytest.fixture
def stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with texts, and a vocabulary."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSGPT_RUNS", "runs")
    lines = (json.dumps({"text": story}) + "\n" for story in STORIES)
    (tmp_path / "stories.jsonl").write_text("".join(lines))
    train_tokenizer(STORIES, TokenizerConfig(vocab_size=270)).save(tmp_path / "tokenizer.json")
    return tmp_path


def result(run: RunDirectory) -> dict[str, bytes]:
    """Return the results of a training: weights, vocabulary, and what was written."""
    files = [
        run.weights,
        run.adapter,
        run.tokenizer,
        run.comparison,
        run.path / "head.safetensors",
    ]
    inside = [
        file for path in files for file in ([path] if path.is_file() else sorted(path.rglob("*.safetensors")))
    ]
    found = {str(file.relative_to(run.path)): file.read_bytes() for file in inside}
    if run.samples.exists():
        found[run.samples.name] = run.samples.read_bytes().replace(run.name.encode(), b"")
    return found


def varied(config: Any) -> Any:
    """Return a config with another value for every setting that is idle in it."""
    values = {found.setting: GIVEN[found.setting] for found in idle(config)}
    other = configs.merge(configs.to_dict(config), tomllib.loads(recipe(values)))
    return configs.from_dict(type(config), other, origin="the test")


# With these settings the config itself refuses another value of this one.
REFUSED = {"model.head_bias", "model.norm_bias", "model.stride", "model.window", "model.rope_factor"}


def unread(config: Any, seen: set[str]) -> set[str]:
    """Return the settings that a run never read and that are not declared idle."""
    return offered(config) - seen - REFUSED - {found.setting for found in idle(config)}


@pytest.mark.parametrize("name", quick(TRAININGS, "plain"))
def test_a_training_is_the_same_whatever_is_idle_and_reads_all_else(name: str, stories: Path) -> None:
    config = TRAININGS[name]
    seen: set[str] = set()
    first = start_run(watched(config, seen), name="first").directory
    assert unread(config, seen) == set()
    other = varied(config)
    if other != config:
        assert result(start_run(other, name="second").directory) == result(first)


TUNINGS = {
    "sft": ("sft", {"samples": {"temperature": 0.0}, "training": {"schedule": "constant"}}),
    "sft-lora": ("sft-lora", {"samples": {"count": 0}, "training": {"optimizer": "muon", "epochs": 0.5}}),
    "grpo": ("grpo", {"training": {"epochs": None}}),
    "classify": ("classify", {"freeze": "all"}),
    "distill": ("distill", {"alpha": 1.0, "samples": {"count": 0}}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TUNINGS)
def test_a_fine_tuning_is_the_same_whatever_is_idle(name: str, here: Path) -> None:  # noqa: F811
    like, settings = TUNINGS[name]
    config, data = KINDS[like]
    values = configs.merge(configs.to_dict(config), configs.merge({"training": {"steps": 2}}, settings))
    config = configs.from_dict(type(config), values, origin="the test")
    other = varied(config)
    assert other != config
    runs = [start_finetuning("base", data, each, name=name).directory
            for name, each in (("first", config), ("second", other))]  # fmt: skip
    assert result(runs[0]) == result(runs[1])


def test_a_split_without_shares_is_the_same_whatever_is_idle() -> None:
    config = SplitConfig(validation=0.0)
    other = dataclasses.replace(config, seed=3, long_document=10)
    assert {found.setting for found in idle(config)} == {"seed", "long_document"}
    texts = [Document(text, text) for text in STORIES]
    assert list(split(texts, config)) == list(split(texts, other))


def test_every_declared_setting_is_idle_in_one_of_these() -> None:
    """Every rule in a config has a run that shows it to be true."""
    shown = {found.setting for config in TRAININGS.values() for found in idle(config)}
    assert {setting for setting, _ in declared(CONFIGS["train"])} - shown == {
        "split.seed",
        "split.long_document",
    }
