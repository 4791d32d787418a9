"""Where everything came from: data, tokenizer, weights, each with the hash that identifies it."""

from __future__ import annotations

import datetime
import hashlib

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import SplitFacts, WeightFacts
from glassgpt.runs.lineage import note_weights, publish_weights, write_lineage
from glassgpt.runs.reading import read_lineage
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


def test_the_kind_and_the_version_stand_in_it(run: RunDirectory) -> None:
    assert (files.read_json(run.lineage)["version"], files.read_json(run.lineage)["kind"]) == (
        1,
        "pretraining",
    )
    older = {
        key: value for key, value in files.read_json(run.lineage).items() if key not in ("version", "kind")
    }
    files.write_json(run.lineage, older)
    lineage = read_lineage(run)
    assert (lineage.version, lineage.kind) == (0, "pretraining")


def test_a_lineage_of_a_newer_version_is_not_guessed_at(run: RunDirectory) -> None:
    files.write_json(run.lineage, {**files.read_json(run.lineage), "version": 99})
    with pytest.raises(RunError, match=r"a newer version of GlassGPT wrote it, in format 99"):
        read_lineage(run)


def test_unknown_keys_survive_the_noting_of_weights(run: RunDirectory) -> None:
    files.write_json(run.lineage, {**files.read_json(run.lineage), "later": [1]})
    note_weights(run, WeightFacts(step=5, sha256="0"))
    found = files.read_json(run.lineage)
    assert (found["later"], found["weights"]) == ([1], {"step": 5, "loss": None, "sha256": "0"})


def test_a_whole_lineage_comes_back_equal(run: RunDirectory) -> None:
    lineage = read_lineage(run)
    write_lineage(run, lineage)
    assert read_lineage(run) == lineage


@pytest.mark.parametrize(("facts", "told"), [
    ({"documents": 0, "bytes": 9, "tokens": 9, "parts": 1}, 1),
    ({"documents": 3, "bytes": 9, "tokens": 9, "parts": 4}, 4),
    ({"documents": 0, "bytes": 9, "tokens": 9}, 1),  # an older version noted no parts
    ({"documents": 3, "bytes": 9, "tokens": 9}, 3),
    ({"documents": 0, "bytes": 0, "tokens": 0}, 0),
])  # fmt: skip
def test_a_part_of_a_document_is_told_as_one(facts: dict[str, int], told: int) -> None:
    assert msgspec.convert(facts, SplitFacts).told == told


def test_a_lineage_has_the_parts_of_each_split(run: RunDirectory) -> None:
    data = read_lineage(run).data
    assert data is not None
    assert all(split.parts is not None and split.parts >= split.documents for split in data.splits.values())
