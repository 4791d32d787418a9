"""`eval` of a fine-tuned run: what its kind is measured by, on the examples that it was not trained on.

It once said that such a run has no text, and named an option that does not exist.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from glassgpt.finetuning.choice import choice_of
from glassgpt.finetuning.labelled import read_labelled
from glassgpt.finetuning.records import read_conversations, read_preferences, read_prompts
from glassgpt.finetuning.rows import split_rows

FEW = (
    "--training.steps=3",
    "--training.batch-size=2",
    "--training.threads=1",
    "--training.precision=float32",
)
SHORT = ("--samples.max-tokens=4",)
KINDS = {
    "sft": ("asked.json", *FEW, *SHORT),
    "sft with LoRA": ("asked.json", "--lora.rank=2", *FEW, *SHORT),
    "dpo": ("asked.json", "--lora.rank=2", *FEW, *SHORT),
    "dpo of all weights": ("asked.json", *FEW, *SHORT),
    "classify": ("moods.jsonl", *FEW),
    "grpo": ("asked.json", "--reward=words", "--words=b", "--group=2", "--max-tokens=8", *FEW),
    "distill": ("text.txt", *FEW),
}


@pytest.fixture
def base(longer_workplace: Path) -> Path:
    """A working folder with a run and records."""
    rows = [
        {"prompt": f"{letter}{n}?", "completion": "b", "chosen": "b", "rejected": "c"}
        for letter in "abcdefgh"
        for n in range(4)
    ]
    Path("asked.json").write_text(json.dumps(rows))
    moods = [{"text": f"cat {n}", "label": "glad" if n % 2 else "sad"} for n in range(30)]
    Path("moods.jsonl").write_text("".join(json.dumps(row) + "\n" for row in moods))
    Path("text.txt").write_text("The cat sat on the mat. The dog sat on the log.\n\n" * 60)
    return longer_workplace


def taught(glassgpt: Any, kind: str, *options: str) -> Path:
    done = glassgpt("finetune", kind.split()[0], "small", *KINDS[kind], *options, "--name", "taught")
    assert done.status == 0, done.errors
    return Path("runs/taught")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] if kind in ("grpo", "distill") else []) for kind in KINDS],
)
def test_the_figures_are_those_of_the_comparison(glassgpt: Any, base: Path, kind: str) -> None:
    run = taught(glassgpt, kind)
    numbers = json.loads((run / "comparison.json").read_text())["numbers"]
    then = {name: after for name, (_, after) in numbers.items()}
    if kind != "grpo":  # its reward is that of an untrained model
        # otherwise the base itself would have these figures, too
        assert any(before != pytest.approx(after, rel=1e-3) for before, after in numbers.values())
    result = glassgpt("eval", "taught", "--json", "found.json")
    assert result.status == 0, result.errors
    found = json.loads(Path("found.json").read_text())["loss"]
    assert found.pop("text").startswith("its ")
    assert found.pop("kind") == kind.split()[0]
    assert (
        found.pop("examples")
        == json.loads((run / "lineage.json").read_text())["data"]["splits"]["validation"]["documents"]
    )
    assert found == {
        name.replace(" ", "_"): pytest.approx(value, rel=1e-4, abs=1e-5) for name, value in then.items()
    }
    assert f"taught ({kind.split()[0]}) on its " in result.output
    for name in then:
        assert name in result.output


def test_data_that_moved_is_named_and_data_that_changed_is_refused(glassgpt: Any, base: Path) -> None:
    taught(glassgpt, "sft")
    Path("elsewhere").mkdir()
    Path("asked.json").rename("elsewhere/other.json")
    gone = glassgpt("eval", "taught", "--tasks", "induction")
    assert gone.status == 0
    assert "glassgpt eval taught --corpus.sources PATH" in gone.output
    assert glassgpt("eval", "taught", "--split", "train").status == 1
    found = glassgpt("eval", "taught", "--tasks", "induction", "--corpus.sources", "elsewhere/other.json")
    assert found.status == 0, found.errors
    assert "held-out loss" in found.output
    Path("asked.json").write_text(json.dumps([{"prompt": "a", "completion": "b"}] * 9))
    changed = glassgpt("eval", "taught", "--corpus.sources", "asked.json")
    assert changed.status == 1
    assert "has changed since the run began, so its held-out examples are not known" in changed.errors
    assert glassgpt("eval", "taught", "text.txt").status == 0


def gone_data(glassgpt: Any) -> str:
    Path("asked.json").unlink()
    return "--corpus.sources PATH"


def changed_data(glassgpt: Any) -> str:
    Path("asked.json").write_text(json.dumps([{"prompt": "a", "completion": "b"}] * 9))
    return "has changed since the run began"


def gone_base(glassgpt: Any) -> str:
    shutil.rmtree("runs/small")
    return "was made from the run small, which no longer exists"


def other_version(glassgpt: Any) -> str:
    """As if another version had read fewer records out of the same file."""
    lineage = json.loads(Path("runs/taught/lineage.json").read_text())
    lineage["data"]["splits"]["train"]["documents"] -= 1
    lineage["data"]["documents"] -= 1
    lineage["machine"]["glassgpt"] = "0.0.9"
    Path("runs/taught/lineage.json").write_text(json.dumps(lineage))
    return "version 0.0.9 read 31 records"


def pack_far_away(glassgpt: Any) -> str:
    """The folders of the machine are taken out of a packed run, so that its data has only a name."""
    assert glassgpt("runs", "pack", "taught", "--to", "packed").status == 0
    Path("far/runs").mkdir(parents=True)
    Path("packed").rename("far/runs/taught")
    Path("runs/small").rename("far/runs/small")
    Path("kept").mkdir()
    Path("asked.json").rename("kept/asked.json")
    os.chdir("far")
    return "asked.json, which taught was trained on, is neither beside the run nor in this folder"


@pytest.mark.parametrize("lose", [gone_data, changed_data, gone_base, other_version, pack_far_away])
def test_what_is_lost_is_said_with_what_can_still_be_measured(glassgpt: Any, base: Path, lose: Any) -> None:
    taught(glassgpt, "sft")
    reason = lose(glassgpt)
    refused = glassgpt("eval", "taught")
    assert refused.status == 1
    assert reason in refused.errors
    _, _, line = refused.errors.partition("can still be measured: ")
    assert line == "glassgpt eval taught --tasks all"
    rest = glassgpt(*line.split()[1:], "--samples", "2")
    assert rest.status == 0, rest.errors
    assert "grammar" in rest.output
    assert "No loss: " in rest.output


def test_a_packed_run_is_measured_where_its_data_is_named(glassgpt: Any, base: Path) -> None:
    taught(glassgpt, "sft")
    figures = glassgpt("eval", "taught", "--tasks", "induction").output.splitlines()[:4]
    assert "held-out loss" in figures[1]
    pack_far_away(glassgpt)
    refused = glassgpt("eval", "taught")
    assert "give its place: glassgpt eval taught --corpus.sources PATH" in refused.errors
    found = glassgpt("eval", "taught", "--tasks", "induction", "--corpus.sources", "../kept/asked.json")
    assert found.output.splitlines()[:4] == figures
    missing = glassgpt("eval", "taught", "--corpus.sources", "nowhere.json")
    assert missing.status == 1
    assert "There is no file or folder nowhere.json" in missing.errors
    shutil.copy("../kept/asked.json", "asked.json")
    assert glassgpt("eval", "taught", "--tasks", "induction").output.splitlines()[:4] == figures


def test_a_packed_run_of_text_says_that_the_text_is_not_there(glassgpt: Any, base: Path) -> None:
    assert glassgpt("runs", "pack", "small", "--to", "elsewhere").status == 0
    Path("text.txt").unlink()
    refused = glassgpt("eval", "./elsewhere")
    assert refused.status == 1
    assert "text.txt, which elsewhere was trained on, is neither beside the run nor" in refused.errors
    Path("text.txt").write_text("Another text of that name. " * 100)
    changed = glassgpt("eval", "./elsewhere")
    assert "has changed since the run began, so what it learned from" in changed.errors
    _, _, line = changed.errors.partition("can still be measured: ")
    rest = glassgpt(*line.split()[1:], "--samples", "2")
    assert rest.status == 0, rest.errors
    assert "Left out: memorisation: The text of elsewhere (or how it is prepared) has changed" in " ".join(
        rest.output.split()
    )


def held_out(kind: str, run: Path) -> list[dict[str, Any]]:
    """Return the records of a run's data that it holds out."""
    (path,) = (Path(path) for path in choice_of(run / "finetune.toml").data)
    lines = path.read_text()
    rows = json.loads(lines) if path.suffix == ".json" else [json.loads(line) for line in lines.splitlines()]
    contents = {
        "sft": lambda: [each.content for each in read_conversations([path])],
        "dpo": lambda: [each.content for each in read_preferences([path])],
        "grpo": lambda: [each.content for each in read_prompts([path])],
        "classify": lambda: [each.text for each in read_labelled([path])],
    }[kind]()
    _, hold = split_rows(contents, 0.1, seed=choice_of(run / "finetune.toml").config.training.seed)
    return [rows[index] for index in hold]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[pytest.mark.slow] if kind == "grpo" else [])
        for kind in KINDS
        if kind != "distill"
    ],
)
def test_other_records_are_measured_as_the_held_out_ones_are(glassgpt: Any, base: Path, kind: str) -> None:
    """They were read as text, and for questions with answers the message advised a fine-tuning."""
    run = taught(glassgpt, kind)
    own = held_out(kind.split()[0], run)
    if kind == "grpo":  # each prompt of its data is answered several times
        own = [own[index % len(own)] for index in range(64)]
    Path("other.json").write_text(json.dumps(own))
    for words, file in ((["taught"], "own"), (["taught", "other.json"], "other")):
        result = glassgpt("eval", *words, "--tasks", "induction", "--json", f"{file}-found.json")
        assert result.status == 0, result.errors
    assert f"taught ({kind.split()[0]}) on {len(own)} examples of other.json\n" in result.output
    known, found = (json.loads(Path(f"{name}-found.json").read_text())["loss"] for name in ("own", "other"))
    assert found.pop("text") == f"{len(own)} examples of other.json"
    assert found.pop("examples") == len(own)
    known.pop("text"), known.pop("examples")
    assert found.pop("kind") == known.pop("kind")
    assert found == {name: pytest.approx(value, rel=1e-4, abs=1e-5) for name, value in known.items()}


def test_text_is_measured_as_text(glassgpt: Any, base: Path) -> None:
    taught(glassgpt, "sft")
    Path("lines.jsonl").write_text('{"text": "The cat sat on the mat."}\n' * 20)
    for words in (("text.txt",), ("lines.jsonl", "--text-field", "text")):
        result = glassgpt("eval", "taught", *words)
        assert result.status == 0, result.errors
        assert "nats a token" in result.output
    refused = glassgpt("eval", "taught", "lines.jsonl")
    assert refused.status == 1
    assert "lines.jsonl:1 does not have a prompt" in refused.errors
    assert "measure it as such: glassgpt eval taught lines.jsonl --text-field text" in refused.errors
    mixed = glassgpt("eval", "taught", "text.txt", "asked.json")
    assert mixed.status == 1
    assert "text.txt is text, and asked.json holds examples" in mixed.errors


def test_folders_and_patterns_of_records(glassgpt: Any, base: Path) -> None:
    taught(glassgpt, "sft")
    Path("more").mkdir()
    for name in "ab":
        Path(f"more/{name}.jsonl").write_text('{"question": "a?", "answer": "b"}\n')
    for source in ("more", "more/*.jsonl"):
        result = glassgpt("eval", "taught", source)
        assert result.status == 0, result.errors
        assert f"on 2 examples of {source}\n" in result.output


def test_labels_of_other_texts(glassgpt: Any, base: Path) -> None:
    """A table has one label, a folder has a folder for each, and a label that was never learned is refused."""
    taught(glassgpt, "classify")
    Path("one.csv").write_text("text,label\ncat 1,glad\ndog 3,glad\n,glad\n")
    result = glassgpt("eval", "taught", "one.csv")
    assert result.status == 0, result.errors
    assert "taught (classify) on 2 examples of one.csv\n" in result.output
    assert "Left out 1 of 3 records, with an empty text: one.csv:4." in " ".join(result.output.split())
    Path("named.csv").write_text("review,label\ncat 1,glad\ndog 3,sad\n")
    named = glassgpt("eval", "taught", "named.csv", "--text-field", "review")
    assert "on 2 examples of named.csv\n" in named.output
    for label in ("glad", "sad"):
        Path(f"moods/{label}").mkdir(parents=True)
        Path(f"moods/{label}/a.txt").write_text("cat")
    assert "on 2 examples of moods\n" in glassgpt("eval", "taught", "moods").output
    Path("new.csv").write_text("text,label\ncat 1,glad\ndog 3,angry\n")
    unknown = glassgpt("eval", "taught", "new.csv")
    assert unknown.status == 1
    assert (
        "new.csv:3 has the label 'angry', which the run has not learned. Its labels: glad, sad."
        in unknown.errors
    )
    Path("other.csv").write_text("text,mood\ncat 1,glad\n")
    no_label = glassgpt("eval", "taught", "other.csv")
    assert no_label.status == 1
    assert "Rename the field that holds it to label." in no_label.errors


def test_old_name_and_int8(glassgpt: Any, base: Path) -> None:
    taught(glassgpt, "sft")
    assert "held-out loss" in glassgpt("evaluate", "taught").output
    exact, rounded = (
        glassgpt("eval", "taught", "--tasks", "induction", *more).output
        for more in ((), ("--weights", "int8"))
    )
    assert "held-out loss" in exact
    assert "held-out loss" in rounded
