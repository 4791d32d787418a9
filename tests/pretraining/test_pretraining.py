"""Small decisions in joining the packages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glassgpt import config as configs
from glassgpt.errors import GenerationError
from glassgpt.pretraining.data import prepare_data
from glassgpt.pretraining.run import source_name, start_run
from glassgpt.runs.config import RunConfig

TINY = {
    "tokenizer": {"vocab_size": 300},
    "model": {"context_length": 16, "n_layer": 1, "n_head": 2, "n_embd": 16},
    "samples": {"max_tokens": 4},
}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("texts/tale.txt.gz", "tale"),
        ("builtin:tinytales:20000:7", "tinytales"),
        ("hf:owner/stories:train#text", "stories"),
        ("tinyshakespeare", "tinyshakespeare"),
        (".", "run"),
    ],
)
def test_a_source_has_a_short_name(source: str, name: str) -> None:
    assert source_name(source) == name


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_run_ends_with_its_best_or_its_last_weights(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate this high makes the loss rise again, so the best and the last step differ.

    It was once 50 without clipping, which ended in NaN on a processor with other kernels.
    """
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path))
    training = {
        "steps": 24, "evaluate_every": 4, "batch_size": 4, "learning_rate": 10.0, "min_learning_rate": 10.0,
        "schedule": "constant", "warmup_steps": 12, "clip": 1.0, "final_weights": which,
        "precision": "float32", "threads": 1,
    }  # fmt: skip
    values = {"corpus": {"sources": ["builtin:tinytales:200"]}, **TINY, "training": training}
    outcome = start_run(configs.from_dict(RunConfig, values, origin="test"), name=which)
    assert outcome.finished.best_step < 24
    weights = json.loads(outcome.directory.lineage.read_text())["weights"]
    assert weights["step"] == (24 if which == "last" else outcome.finished.best_step)
    folder = outcome.directory.checkpoints / f"step-{weights['step']:08d}"
    assert outcome.directory.weights.read_bytes() == (folder / "model.safetensors").read_bytes()


def test_prompts_of_the_samples_are_looked_at_before_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt longer than the context was once shortened silently; one without ids ended a run that had begun."""
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path / "runs"))
    values = {
        **TINY,
        "corpus": {"sources": ["builtin:tinytales:50"]},
        "tokenizer": {"kind": "char"},
        "training": {"steps": 1, "batch_size": 2, "precision": "float32", "threads": 1},
        "samples": {"max_tokens": 2, "prompts": ["Once", "Once upon a time there was a fox"]},
    }
    said: list[str] = []
    start_run(configs.from_dict(RunConfig, values, origin="test"), name="long", say=said.append)
    assert [line for line in said if line.startswith("Prompt ")] == [
        "Prompt 2 of the samples has 33 tokens, and the model looks back at 16 at most: the first 24 are left out."
    ]
    values["samples"] = {"prompts": ["Ωmega"]}
    with pytest.raises(GenerationError, match="is not in this model's vocabulary: 'Ω'"):
        start_run(configs.from_dict(RunConfig, values, origin="test"), name="unknown")
    assert not (tmp_path / "runs/unknown").exists()


def test_what_a_reader_inferred_is_reported_each_time(tmp_path: Path) -> None:
    """With tokens prepared earlier, nothing once said that the first row of a table was read as a text."""
    table = tmp_path / "rows.csv"
    table.write_text("".join(f"a story of the number {number} and of a hat\n" for number in range(80)))
    values = {**TINY, "corpus": {"sources": [str(table)]}}
    config = configs.from_dict(RunConfig, values, origin="test")
    for earlier in (False, True):
        said: list[str] = []
        prepare_data(config, said.append)
        assert any("prepared earlier" in line for line in said) == earlier
        assert any("no row with the name of its column" in line for line in said)
