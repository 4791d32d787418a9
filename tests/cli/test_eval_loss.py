"""`glassgpt eval` measures a run on its own text, wherever that is now; the text is recognised by its hash."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from glassgpt.evaluation.scoring import likelihoods
from glassgpt.files import read_json
from glassgpt.runs.opening import open_run
from tests.cli.conftest import SMALL

TEXT = "The cat sat on the mat. The dog sat on the log. A bird sang to the cat and the dog.\n\n" * 60


@pytest.fixture
def moved(workplace: Path, glassgpt: Any) -> Path:
    """A folder with a run whose text is elsewhere now, under another name."""
    config = workplace / "runs/small/config.toml"
    elsewhere = 'sources = ["/old/place/story.txt"]'
    config.write_text(re.sub(r"sources = \[.*?\]", elsewhere, config.read_text(), flags=re.DOTALL))
    (workplace / "text.txt").rename(workplace / "now here.txt")
    return workplace


def test_the_new_place_of_the_text_can_be_named(moved: Path, glassgpt: Any) -> None:
    before = (moved / "runs/small/config.toml").read_text()
    refused = glassgpt("eval", "small")
    assert refused.status == 1
    assert "give its new place: glassgpt eval small --corpus.sources PATH" in refused.errors
    asked = glassgpt("eval", "small", "--tasks", "grammar")
    assert asked.status == 0  # the loss was not named, and the probe needs no text
    assert "No loss: " in asked.output
    assert "give its new place:  glassgpt eval small --corpus.sources PATH" in asked.output
    measured = glassgpt("eval", "small", "--corpus.sources", "now here.txt", "--samples", "2")
    assert measured.status == 0, measured.errors
    assert "its validation text" in measured.output
    assert "memorisation" in measured.output.partition("Left out")[0]  # which reads the moved text, too
    assert (moved / "runs/small/config.toml").read_text() == before  # reading a run changes nothing
    train = glassgpt(
        "eval", "small", "--split", "train", "--corpus.sources", "now here.txt", "--tasks=grammar"
    )
    assert "its train text" in train.output


@pytest.mark.parametrize("command", ["eval", "resume"])
def test_another_text_is_refused_as_resume_refuses_it(moved: Path, glassgpt: Any, command: str) -> None:
    (moved / "other.txt").write_text(TEXT + "And more.\n")
    refused = glassgpt(command, "small", "--corpus.sources", "other.txt")
    assert refused.status == 1
    assert "other.txt is not the text that small was trained on: its hash differs" in refused.errors
    missing = glassgpt(command, "small", "--corpus.sources", "nowhere.txt")
    assert missing.status == 1
    assert "nowhere.txt" in missing.errors


def test_one_of_two_texts(moved: Path, glassgpt: Any) -> None:
    refused = glassgpt("eval", "small", "other.txt", "--corpus.sources", "now here.txt")
    assert refused.status == 1
    assert "Give only one of the two" in refused.errors


def test_the_loss_comes_first_and_then_all_probes(workplace: Path, glassgpt: Any) -> None:
    result = glassgpt("eval", "small", "--samples", "2", "--json", "found.json")
    assert result.status == 0, result.errors
    assert result.output.index("bits per byte") < result.output.index("grammar")
    loss = read_json(Path("found.json"))["loss"]
    assert loss["text"] == "its validation text"
    assert f"loss           {loss['loss']:.4f} nats a token" in result.output
    assert f"bits per byte  {loss['bits_per_byte']:.4f}" in result.output
    assert f"tokens         {loss['tokens']:,}" in result.output
    assert loss["perplexity"] == pytest.approx(math.exp(loss["loss"]))


def test_a_text_is_measured_alone_unless_probes_are_named(workplace: Path, glassgpt: Any) -> None:
    alone = glassgpt("eval", "small", "text.txt", "--json", "alone.json")
    assert alone.status == 0, alone.errors
    found = read_json(Path("alone.json"))
    assert found["loss"]["text"] == "text.txt"
    assert (found["scores"], found["left_out"]) == ([], [])
    every = glassgpt("eval", "small", "text.txt", "--tasks", "all", "--samples", "2", "--json", "all.json")
    assert every.status == 0, every.errors
    everything = read_json(Path("all.json"))
    assert everything["loss"] == found["loss"]
    assert [score["name"] for score in everything["scores"]] == ["grammar", "induction", "memorisation"]
    assert len(everything["left_out"]) == 2
    one = glassgpt("eval", "small", "text.txt", "--tasks", "grammar")
    assert "bits per byte" in one.output
    assert "grammar" in one.output
    assert "induction" not in one.output


def test_the_results_never_replace_the_text(workplace: Path, glassgpt: Any) -> None:
    refused = glassgpt("eval", "small", "text.txt", "--json", "text.txt", "--force")
    assert refused.status == 1
    assert "one of the files that this command reads" in refused.errors


@pytest.mark.slow
def test_an_imported_run_is_asked_what_it_can_be(workplace: Path, glassgpt: Any) -> None:
    glassgpt("export", "small")
    glassgpt("import", "small-hf", "--name", "back")
    result = glassgpt("eval", "back", "--json", "found.json")
    assert result.status == 0, result.errors
    assert "No loss: back has no text of its own: it was imported." in result.output
    assert "glassgpt eval back TEXT" in result.output
    found = read_json(Path("found.json"))
    assert found["loss"] is None
    assert {"grammar", "induction"} <= {score["name"] for score in found["scores"]}
    stories = glassgpt("eval", "back", "text.txt", "--stories", "2")
    assert stories.status == 1
    assert "it was imported" in stories.errors


def test_a_fine_tuned_run_is_measured_on_its_records_and_has_no_text_to_recite(
    longer_workplace: Path, glassgpt: Any
) -> None:
    """Its records were read as text, and the message advised a field of them."""
    asked = [{"prompt": f"{letter}?", "completion": "b"} for letter in "abcdefgh"]
    Path("asked.json").write_text(json.dumps(asked))
    few = ("--training.steps=2", "--training.batch-size=2", "--training.threads=1", "--samples.max-tokens=4")
    taught = glassgpt("finetune", "sft", "small", "asked.json", "--name", "talks", *few)
    assert taught.status == 0, taught.errors
    result = glassgpt("eval", "talks")
    assert result.status == 0, result.errors
    assert "talks (sft) on its 1 held-out example\n" in result.output
    assert "Left out: memorisation: talks has no text of its own" in result.output
    refused = glassgpt("eval", "talks", "--tasks", "memorisation")
    assert refused.status == 1
    assert "it was fine-tuned (sft) from small" in refused.errors


def test_a_wrong_name_of_a_task_is_reported_before_the_loss(workplace: Path, glassgpt: Any) -> None:
    pytest.importorskip("lm_eval")
    (workplace / "tasks").mkdir()
    refused = glassgpt("eval", "small", "--tasks", "pets", "--include", "tasks")
    assert refused.status == 1
    assert refused.output == ""


def test_the_earlier_name_measures_the_loss_alone(workplace: Path, glassgpt: Any) -> None:
    before, now = glassgpt("evaluate", "small"), glassgpt("eval", "small", "--tasks", "grammar")
    assert before.status == 0, before.errors
    assert now.output.startswith(before.output)
    assert "grammar" not in before.output
    assert before.errors == "`glassgpt eval` is the command for this now: it takes the same options."
    assert " evaluate " not in glassgpt("--help").output
    refused = glassgpt("evaluate", "small", "--split", "test")
    assert refused.status == 1
    assert refused.errors.startswith("Error: The run was trained without a test split")


def test_a_run_of_documents_is_measured_on_all_documents_of_a_text(workplace: Path, glassgpt: Any) -> None:
    """A text of one document was refused ("The train split has no two documents"), and of more than one the first was
    not measured: half of a text of two. The figure must be that of each document after the end of another one."""
    longer = [option.replace("length=16", "length=64") for option in SMALL]
    trained = glassgpt(
        "train", "builtin:tinytales:300", *longer, "--training.order=documents", "--name=tales"
    )
    assert trained.status == 0, trained.errors
    written = ["The cat sat.", "A dog ran to a log and sang to the bird, and the bird sang to the dog."]
    run = open_run("tales")
    end = run.tokenizer.end_of_text
    for count in (1, 2):
        lines = [json.dumps({"text": text}) + "\n" for text in written[:count]]
        Path("documents.jsonl").write_text("".join(lines))
        result = glassgpt("eval", "tales", "documents.jsonl", "--json", f"{count}.json")
        assert result.status == 0, result.errors
        found = json.loads(Path(f"{count}.json").read_text())["loss"]
        ids = [id for text in written[:count] for id in [*run.tokenizer.encode(text), end]]
        assert found["tokens"] == len(ids)
        (expected,) = likelihoods(run.model, [([end], ids)])
        assert found["loss"] == pytest.approx(-expected.log_probability / len(ids), rel=1e-5)
