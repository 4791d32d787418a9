"""Where everything came from: data, tokenizer, weights, each with the hash that identifies it."""

from __future__ import annotations

import datetime
import hashlib

import pytest
import torch
from safetensors.torch import load_file

from glassgpt import files
from glassgpt.runs.lineage import publish_weights
from glassgpt.tokenizers.fast import FastTokenizer


def test_a_finished_run_tells_where_it_came_from(run):
    lineage = files.read_json(run.lineage)
    assert datetime.datetime.fromisoformat(lineage["created"]).tzinfo is not None
    assert lineage["command"][0] == "glassgpt"
    assert lineage["machine"]["torch"] == torch.__version__
    tokenizer = FastTokenizer.from_file(run.tokenizer)
    assert lineage["tokenizer"] == {
        "kind": "bpe", "vocab_size": 300, "fingerprint": tokenizer.fingerprint,
    }  # fmt: skip
    data = lineage["data"]
    assert [source["name"] for source in data["sources"]] == ["builtin:tinytales:60:1"]
    assert len(data["plan"]) == 64
    assert data["documents"] == 60 == sum(split["documents"] for split in data["splits"].values())
    assert data["splits"]["train"]["tokens"] > data["splits"]["validation"]["tokens"] > 0
    assert data["floor"].keys() == {"loss", "bits_per_byte"}
    assert lineage["base"] is None
    assert lineage["model"]["parameters"] == sum(weight.numel() for weight in load_file(run.weights).values())
    assert lineage["weights"]["step"] == 12
    assert lineage["weights"]["sha256"] == hashlib.sha256(run.weights.read_bytes()).hexdigest()


@pytest.mark.parametrize(("best_step", "loss"), [(7, 1.5), (3, None)])
def test_new_weights_are_noted_and_the_rest_stays(run, tmp_path, best_step, loss):
    before = files.read_json(run.lineage)
    (tmp_path / "model.safetensors").write_bytes(b"others")
    progress = {"step": 7, "best_step": best_step, "best_loss": 1.5}
    files.write_json(tmp_path / "state.json", {"progress": progress})
    publish_weights(run, tmp_path)
    assert run.weights.read_bytes() == b"others"
    after = files.read_json(run.lineage)
    assert after.pop("weights") == {
        "step": 7, "loss": loss, "sha256": hashlib.sha256(b"others").hexdigest(),
    }  # fmt: skip
    before.pop("weights")
    assert after == before
