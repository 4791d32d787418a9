"""`finetune`, `classify`, `chat` and `resume` as a user calls them."""

from __future__ import annotations

import builtins
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.quick import quick

Command = Callable[..., Any]
FEW = (
    "--training.steps=4",
    "--training.evaluate-every=2",
    "--training.batch-size=2",
    "--training.threads=1",
    "--training.precision=float32",
    "--samples.max-tokens=6",
)


@pytest.fixture
def records(longer_workplace: Path) -> Path:
    """A working folder with a run and files of records."""
    rows = [
        {"prompt": f"{letter}?", "completion": "b", "chosen": "b", "rejected": "c"} for letter in "abcdefgh"
    ]
    Path("asked.json").write_text(json.dumps(rows))
    moods = [{"text": f"cat {n}", "label": "glad" if n % 2 else "sad"} for n in range(12)]
    Path("moods.jsonl").write_text("".join(json.dumps(row) + "\n" for row in moods))
    return longer_workplace


def test_sft_shows_before_and_after_and_then_chats(
    glassgpt: Command, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = glassgpt(
        "finetune", "sft", "small", "asked.json", "--name", "talks", *FEW[1:], "--training.epochs=1"
    )
    assert done.status == 0, done.errors
    for words in ("<|im_start|>", "held-out loss", "before", "after", "glassgpt chat talks"):
        assert words in done.output
    lines: Iterator[str] = iter(["hi", "/new", "you", "/quit"])
    monkeypatch.setattr(builtins, "input", lambda *_: next(lines))
    talked = glassgpt("chat", "talks", "--max-tokens", "3", "--system", "a")
    assert talked.status == 0, talked.errors
    assert "Talking with talks" in talked.output
    assert "base model" not in talked.output


def test_a_base_says_that_it_only_continues(
    glassgpt: Command, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "input", lambda *_: "/quit")
    assert "finetune sft small" in glassgpt("chat", "small").output
    refused = glassgpt("chat", "small", "--system", "Be kind.")
    assert refused.status == 1
    assert "has no system prompt" in refused.errors


def test_naming_one_setting_keeps_the_other_defaults_of_the_kind(glassgpt: Command, records: Path) -> None:
    """A setting of a section once replaced the kind's defaults by the section's general ones: 1,000 steps."""
    done = glassgpt("finetune", "sft", "small", "asked.json", "--name", "talks", "--training.threads=1",
                    "--training.precision=float32", "--training.epochs=1", "--training.batch-size=2",
                    "--samples.count=0")  # fmt: skip
    assert done.status == 0, done.errors
    config = (records / "runs/talks/finetune.toml").read_text()
    assert "warmup_steps = 10" in config
    assert "sample_every = 0" in config
    assert 'kind = "sft"' in config
    assert "learning_rate = 0.001\n" in config  # fitted to the width, because it was not named


@pytest.mark.parametrize("kind", ["dpo", "grpo"])
def test_preferences_and_rewards_run_from_one_command(kind: str, glassgpt: Command, records: Path) -> None:
    more = () if kind == "dpo" else ("--reward", "length", "--length", "2", "--max-tokens", "6", "--group", "2",
                                     "--prompts", "2")  # fmt: skip
    done = glassgpt(
        "finetune", kind, "small", "asked.json", "--name", kind, *(FEW if kind == "dpo" else FEW[:-1]), *more
    )
    assert done.status == 0, done.errors
    assert ("margin" if kind == "dpo" else "reward") in done.output
    assert glassgpt("resume", kind).status == 0


def test_a_classifier_is_trained_and_asked(
    glassgpt: Command, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = glassgpt(
        "finetune", "classify", "small", "moods.jsonl", "--name", "moods", *FEW[:-1], "--freeze", "all"
    )
    assert done.status == 0, done.errors
    assert 'glassgpt classify moods "a text"' in done.output
    said = glassgpt("classify", "moods", "cat 3", "cat 4")
    assert said.status == 0, said.errors
    assert said.output.count("glad") == said.output.count("sad") == 2
    assert "has not learned to classify" in glassgpt("classify", "small", "cat").errors
    import io

    # Blank lines were once left out, so the labels no longer matched their lines.
    monkeypatch.setattr("sys.stdin", io.StringIO("cat 1\n\n \ncat 2"))
    said = glassgpt("classify", "moods").output.splitlines()
    assert [line[-5:] for line in said] == ["cat 1", "-", "-", "cat 2"]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "There is no text" in glassgpt("classify", "moods").errors


UNUSUAL: dict[str, tuple[str, ...]] = {
    "sft": ("asked.json", "--template", "alpaca", "--lora.rank", "2", "--lora.targets", "query", "--samples.count=1"),
    "dpo": ("asked.json", "--beta", "0.3", "--validation", "0.3", "--training.learning-rate", "0.00037"),
    "grpo": ("asked.json", "--reward", "words", "--reward", "length", "--words", "a b", "--words", 'the "c"',
             "--length=2", "--max-tokens=3", "--group=2", "--prompts=2", "--training.no-compile"),
    "classify": ("moods.jsonl", "--freeze", "all", "--label-field", "label", "--training.schedule=wsd"),
    "distill": ("--width=8", "--layers=1", "--alpha=1", "--samples.count=0"),
}  # fmt: skip


@pytest.mark.parametrize("kind", quick(UNUSUAL, "sft"))
def test_the_settings_of_a_run_are_taken_from_its_file(kind: str, glassgpt: Command, records: Path) -> None:
    """The command that repeats a fine-tuning once named only its base and its data, and trained with the defaults."""
    words = [*FEW[:-1], *UNUSUAL[kind]]
    first = glassgpt("finetune", kind, "small", "--name", "first", *words)
    assert first.status == 0, first.errors
    file = records / "runs/first/finetune.toml"
    data = [word for word in words if "." in word and not word.startswith("--") and word[0].isalpha()]
    second = glassgpt("finetune", kind, "small", *data, "--name", "second", "--config", str(file))
    assert second.status == 0, second.errors
    assert settings_of("second") == settings_of("first")
    third = glassgpt(
        "finetune", kind, "small", *data, "--name=third", f"--config={file}", "--training.steps=1"
    )
    assert third.status == 0, third.errors
    expected = settings_of("first")
    expected["training"]["steps"] = 1
    assert settings_of("third") == expected


def settings_of(run: str) -> dict[str, Any]:
    return tomllib.loads(Path(f"runs/{run}/finetune.toml").read_text())


def test_an_unusable_file_of_settings_is_reported(glassgpt: Command, records: Path) -> None:
    done = glassgpt("finetune", "classify", "small", "moods.jsonl", "--name", "moods", *FEW[:-1])
    assert done.status == 0, done.errors
    file = records / "runs/moods/finetune.toml"
    for kind, name, says in (
        ("sft", file, "is a fine-tuning of the kind classify, not sft"),
        ("sft", records / "none.toml", "cannot be read"),
        ("classify", records / "runs/small/config.toml", "lacks 'kind'"),
    ):
        refused = glassgpt("finetune", kind, "small", "asked.json", "--config", str(name))
        assert refused.status == 1
        assert says in refused.errors
    file.write_text(file.read_text().replace("freeze", "frieze"))
    refused = glassgpt("finetune", "classify", "small", "moods.jsonl", "--config", str(file))
    assert refused.status == 1
    assert "there is no setting `frieze`" in refused.errors


@pytest.mark.slow
def test_distilling_makes_a_smaller_run(glassgpt: Command, records: Path) -> None:
    done = glassgpt(
        "finetune", "distill", "small", "--name", "student", *FEW, "--width", "8", "--layers", "1"
    )
    assert done.status == 0, done.errors
    assert "teacher loss" in done.output
    assert glassgpt("generate", "student", "The", "--max-tokens", "3").status == 0


def test_finishing_in_minutes(glassgpt: Command, records: Path) -> None:
    done = glassgpt("finetune", "sft", "small", "asked.json", "--name", "quick", *FEW, "--minutes", "0.05")
    assert done.status == 0, done.errors
    assert "seconds = " in (records / "runs/quick/finetune.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sft", "small"), "There is no record in no file at all"),
        (("sft", "small", "nowhere.json"), "There is no file or folder nowhere.json"),
        (("sft", "smal", "asked.json"), "Did you mean small"),
        (("sft", "small", "asked.json", "--name", "small"), "exists already"),
        (("grpo", "small", "--reward", "tinytale"), "Did you mean tinytales"),
        (("grpo", "small", "--group", "1"), "2 or more"),
        (("dpo", "small", "moods.jsonl"), "a chosen and a rejected answer"),
        (("classify", "small", "asked.json"), "no field any of text"),
        (
            ("sft", "small", "asked.json", "--lora.rank", "2", "--lora.targets", "querry"),
            "Did you mean query",
        ),
        (("sft", "small", "asked.json", "--lora.rank", "2", "--template", "chatml"), "LoRA does not train"),
        (
            ("classify", "small", "moods.jsonl", "--lora.rank", "2", "--freeze", "all"),
            "LoRA freezes the base",
        ),
        (
            ("classify", "small", "moods.jsonl", "--freeze", "all", "--training.optimizer", "muon"),
            "--freeze all keeps frozen",
        ),
    ],
)
def test_impossible_requests_give_one_clear_line(
    arguments: tuple[str, ...], message: str, glassgpt: Command, records: Path
) -> None:
    refused = glassgpt("finetune", *arguments)
    assert refused.status != 0
    assert message in refused.errors + " ".join(refused.output.split())
    assert "Traceback" not in refused.errors
    assert sorted(path.name for path in (records / "runs").iterdir()) == ["small"]
