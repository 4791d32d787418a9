"""`eval` of a fine-tuned run: what its kind is measured by, on the examples that it was not trained on.

It once said that such a run has no text, and named an option that does not exist.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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


def test_old_name_and_int8(glassgpt: Any, base: Path) -> None:
    taught(glassgpt, "sft")
    assert "held-out loss" in glassgpt("evaluate", "taught").output
    exact, rounded = (
        glassgpt("eval", "taught", "--tasks", "induction", *more).output
        for more in ((), ("--weights", "int8"))
    )
    assert "held-out loss" in exact
    assert "held-out loss" in rounded
