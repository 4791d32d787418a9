"""A run opens complete and consistent, or an error says what does not fit."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from glassgpt import config as configs
from glassgpt import files
from glassgpt.dataset.shards import open_shards
from glassgpt.errors import CheckpointError, ConfigError, ModelError, RunError, TokenizerError
from glassgpt.evaluation.loss import evaluate
from glassgpt.generation.text import GenerationConfig, complete
from glassgpt.model.forms import form_of
from glassgpt.runs.checkpoints import CheckpointStore, load_checkpoint
from glassgpt.runs.config import PromptsConfig, RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import open_run
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.train import train_tokenizer


def unfinish(run: RunDirectory) -> None:
    """Leave what a killed training leaves: checkpoints, but no weights."""
    run.weights.unlink()
    lineage = files.read_json(run.lineage)
    files.write_json(run.lineage, {**lineage, "weights": None})


def same_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    mine = model.state_dict()
    return mine.keys() == weights.keys() and all(torch.equal(mine[name], weights[name]) for name in mine)


def test_a_finished_run_opens_with_everything(run):
    opened = open_run("latest")
    assert opened.directory.path == run.path
    assert same_weights(opened.model, load_file(run.weights))
    assert not opened.model.training
    assert opened.model.config.vocab_size == opened.tokenizer.vocab_size == 300
    assert opened.config.training.steps == 12
    assert opened.lineage.tokenizer.fingerprint == opened.tokenizer.fingerprint
    assert opened.knows_documents
    config = GenerationConfig(max_tokens=5, seed=0)
    assert complete(opened.model, opened.tokenizer, "Once", config) == complete(
        opened.model, opened.tokenizer, "Once", config
    )


def test_a_run_opens_and_writes_without_loading_torchs_compiler(run):
    """It once did, for initial values on the meta device that were never used: a second before the first word."""
    code = f"""
import sys
from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.opening import open_run
open_run({str(run.path)!r}).complete("", GenerationConfig(max_tokens=4))
assert "torch" in sys.modules
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("weights", ["int8", "bfloat16"])
def test_weights_in_fewer_bits_are_made_on_opening_and_change_no_file(run, weights):
    before = files.hash_file(run.weights)
    opened = open_run("first", weights=weights)
    assert not any(isinstance(module, torch.nn.Linear) for module in opened.model.modules())
    assert len(opened.complete(["", "Once"], GenerationConfig(max_tokens=5, seed=0), count=2)) == 4
    assert files.hash_file(run.weights) == before


def test_auto_takes_the_fastest_form(run, monkeypatch):
    monkeypatch.setattr("glassgpt.runs.opening.fastest_form", lambda model: "bfloat16")
    assert form_of(open_run("first", weights="auto").model) == "bfloat16"


def test_the_loss_of_the_opened_model_is_the_one_that_was_noted(run, trained):
    """Training recorded a number; the files alone must give it again."""
    opened = open_run("first")
    (prepared,) = (trained.parents[1] / "cache" / "prepared").glob("*/manifest.json")
    split = open_shards(prepared.parent, fingerprint=opened.tokenizer.fingerprint).split("validation")
    result = evaluate(
        opened.model, split, context_length=32, max_tokens=512, byte_lengths=opened.tokenizer.byte_lengths()
    )
    assert result.loss == opened.lineage.weights.loss
    last = [json.loads(line) for line in run.metrics.read_text().splitlines() if '"evaluation"' in line][-1]
    assert (result.loss, result.bits_per_byte) == (last["loss"], last["bits_per_byte"])


def test_another_tokenizer_is_refused(run):
    other = train_tokenizer(
        ["some other text, quite another one"] * 3, TokenizerConfig(kind="bpe", vocab_size=290)
    )
    other.save(run.tokenizer)
    with pytest.raises(RunError, match="is not the tokenizer this run was made with"):
        open_run("first")


def test_a_missing_or_broken_tokenizer_is_named(run):
    run.tokenizer.write_text("{")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        open_run("first")
    run.tokenizer.unlink()
    with pytest.raises(RunError, match=r"tokenizer\.json is missing"):
        open_run("first")


def test_altered_weights_are_refused(run):
    weights = load_file(run.weights)
    weights["final_norm.weight"][0] += 1
    save_file(weights, run.weights)
    with pytest.raises(RunError, match=r"truncated or altered.*glassgpt resume .*first"):
        open_run("first")
    run.weights.write_bytes(run.weights.read_bytes()[:-100])
    with pytest.raises(RunError, match="truncated or altered"):
        open_run("first")


def test_a_file_that_is_no_weights_is_refused_also_without_a_hash(run):
    unfinish(run)
    shutil.rmtree(run.checkpoints)
    run.weights.write_bytes(b"no weights at all")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        open_run("first")


def change_model(run: RunDirectory, **settings: int) -> None:
    config = configs.load(RunConfig, run.config)
    model = dataclasses.replace(config.model, **settings)
    run.config.write_text(configs.to_toml(dataclasses.replace(config, model=model)))


def test_weights_of_another_shape_are_refused(run):
    change_model(run, n_embd=32)
    with pytest.raises(ModelError, match=r"does not fit the model in .*config\.toml: size mismatch for"):
        open_run("first")
    change_model(run, n_embd=16, n_layer=3)
    with pytest.raises(ModelError, match="Missing key"):
        open_run("first")


def test_a_model_with_too_few_ids_for_the_tokenizer_is_refused(run):
    change_model(run, vocab_size=200)
    with pytest.raises(RunError, match="300 ids but the model only 200"):
        open_run("first")


def test_a_broken_config_or_lineage_is_named(run):
    content = run.lineage.read_text()
    run.lineage.write_text(content[:50])
    with pytest.raises(RunError, match=r"lineage\.json is damaged.*glassgpt train --config"):
        open_run("first")
    run.lineage.unlink()
    with pytest.raises(RunError, match=r"lineage\.json is missing.*glassgpt train --config"):
        open_run("first")
    run.lineage.write_text(content)
    run.config.write_text(run.config.read_text().replace("n_layer", "n_layers"))
    with pytest.raises(ConfigError, match=r"no setting `model\.n_layers`.*Did you mean n_layer"):
        open_run("first")


def test_an_unfinished_run_opens_its_best_checkpoint(run):
    store = CheckpointStore(run.checkpoints)
    best = store.best()
    assert best is not None
    later = load_checkpoint(best)
    later.progress.step += 5
    later.model["final_norm.weight"] += 1
    store.save(later)  # newer, and not the best
    unfinish(run)
    assert same_weights(open_run("first").model, load_file(best / "model.safetensors"))


def test_an_unfinished_run_whose_best_checkpoint_is_broken_opens_the_newest_whole_one(run):
    """The error once said that the run "has no weights yet"."""
    store = CheckpointStore(run.checkpoints)
    best, whole = store.best(), store.steps()[0]
    assert best is not None
    assert best != whole
    (best / "manifest.json").unlink()
    unfinish(run)
    assert same_weights(open_run("first").model, load_file(whole / "model.safetensors"))


def test_a_run_that_went_on_after_it_was_stopped_opens_what_is_best_now(run):
    """After a stop at its first best weights, a resume and a kill, the old model.safetensors was once opened."""
    store = CheckpointStore(run.checkpoints)
    better = load_checkpoint(store.steps()[-1])
    better.progress.step += 4
    better.model["final_norm.weight"] += 1
    store.save(better, best=True)
    assert same_weights(open_run("first").model, better.model)
    shutil.rmtree(run.checkpoints)
    assert same_weights(open_run("first").model, load_file(run.weights))  # a run needs no checkpoints


def test_a_run_without_any_weights_says_how_to_go_on(run):
    unfinish(run)
    shutil.rmtree(run.checkpoints)
    with pytest.raises(RunError, match=r"first has no weights yet.*glassgpt resume .*first"):
        open_run("first")


def test_opening_a_run_at_work_disturbs_nothing(run):
    unfinish(run)
    half = run.checkpoints / ".step-00000099.abcd"
    half.mkdir()
    before = sorted(run.path.rglob("*"))
    open_run("first")
    assert sorted(run.path.rglob("*")) == before


def test_a_model_of_a_single_document_knows_no_documents(run):
    lineage = files.read_json(run.lineage)
    lineage["data"]["documents"] = 1
    files.write_json(run.lineage, lineage)
    assert not open_run("first").knows_documents


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_k": -1}, {"seed": -1}], ids=str
)
def test_samples_that_could_not_be_drawn_are_refused_before_training(wrong):
    with pytest.raises(ConfigError, match=rf"samples\.{next(iter(wrong))} must be"):
        PromptsConfig(**wrong)


def test_the_configuration_comes_back_from_its_file(run):
    config = configs.load(RunConfig, run.config)
    assert configs.from_dict(RunConfig, configs.to_dict(config), origin="") == config
    assert config.samples.prompts == ("", "Once")
    assert math.isclose(config.training.learning_rate, 0.01)
