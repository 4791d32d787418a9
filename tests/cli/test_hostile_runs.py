"""A run with any file damaged in any way gives a right result or one sentence, and nothing is removed or invented."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glassgpt import files
from glassgpt.runs.checkpoints import CheckpointStore

from .conftest import SMALL, refused

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda _: random.Random(1).randbytes(200),
    "null": lambda _: b"null",
    "list": lambda _: b"[]",
    "deep": lambda _: b"[" * 100_000,
    "deep TOML": lambda _: b"x = " + b"[" * 100_000,
    "digits": lambda _: b"x = " + b"9" * 9_000,
    "UTF-16": lambda _: "x = 1".encode("utf-16"),
    "pointer": lambda _: POINTER,
}
FILES = ("config.toml", "lineage.json", "tokenizer.json", "metrics.jsonl", "model.safetensors")
IN_CHECKPOINT = (
    "manifest.json",
    "state.json",
    "model.safetensors",
    "optimizer.safetensors",
    "random.safetensors",
)
LOOKING = (
    ("generate", "small", "The", "--max-tokens", "2"),
    ("runs",),
)
READING = (
    ("chat", "small"),
    ("eval", "small", "--tasks", "grammar", "--split", "validation"),
    ("eval", "small"),
    ("export", "small", "--to", "gguf", "--output", "out.gguf"),
    ("export", "small", "--to", "hf", "--output", "out-hf"),
    ("export", "small", "--to", "onnx", "--output", "out.onnx"),
    ("runs", "compare", "small", "other", "--output", "out.png"),
)
"""Further commands that use a run without changing it."""


def put(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def right_or_a_sentence(result: Any) -> None:
    assert result.status in (0, 1), result
    assert "Traceback" not in result.errors
    assert len(result.errors) < 900
    assert result.errors.startswith("Error: ") == (result.status == 1), result.errors


@pytest.mark.parametrize("name", [*FILES, *(f"checkpoint/{name}" for name in IN_CHECKPOINT)])
def test_looking_at_a_damaged_run(glassgpt: Any, workplace: Path, name: str) -> None:
    newest = CheckpointStore(Path("runs/small/checkpoints")).steps()[-1]
    path = newest / name.removeprefix("checkpoint/") if name.startswith("check") else Path("runs/small", name)
    original = path.read_bytes()
    for damage in DAMAGES.values():
        put(path, damage(original)) if path.exists() else None
        before = content_of(Path("runs"))
        for command in LOOKING:
            right_or_a_sentence(glassgpt(*command))
        assert content_of(Path("runs")) == before
        path.write_bytes(original)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [*FILES, *(f"checkpoint/{name}" for name in IN_CHECKPOINT)])
def test_resuming_a_damaged_run(glassgpt: Any, workplace: Path, name: str, damage: str) -> None:
    """What can be made again is restored; what cannot is untouched, and the sentence gives a way out."""
    newest = CheckpointStore(Path("runs/small/checkpoints")).steps()[-1]
    path = newest / name.removeprefix("checkpoint/") if name.startswith("check") else Path("runs/small", name)
    before = content_of(Path("runs"))
    put(path, DAMAGES[damage](before[path]))
    damaged = content_of(Path("runs"))
    result = glassgpt("resume", "small")
    right_or_a_sentence(result)
    after = content_of(Path("runs"))
    assert set(damaged) <= set(after)
    weights = Path("runs/small/model.safetensors")
    if result.status == 0:
        assert after[weights] == before[weights]
        assert after[newest / "model.safetensors"] == before[newest / "model.safetensors"]
    else:
        assert {path: content for path, content in after.items() if path in damaged} == damaged
        assert "Put" in result.errors or "put" in result.errors or "glassgpt" in result.errors, result.errors


@pytest.fixture
def other(workplace: Path, glassgpt: Any) -> Path:
    """A second run beside `small`, with the same text and shape but another learning rate."""
    result = glassgpt(
        "train", "text.txt", *SMALL, "--training.learning-rate=0.01", "--training.seed=7", "--name", "other"
    )
    assert result.status == 0, result
    return Path("runs/other")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "noise", "other"])
def test_every_command_that_reads_a_damaged_run(
    glassgpt: Any, other: Path, name: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right result, or one sentence and nothing written; the run is never touched."""
    # transformers keeps the stream of the first call, which the second call closes; that does not happen in a real
    # process.
    monkeypatch.setattr("logging.raiseExceptions", False)
    right, outputs = {}, ("out.gguf", "out-hf", "out.onnx", "out.onnx.data", "out.png")
    path = Path("runs/small", name)
    original = path.read_bytes()
    for damaged in (False, True):
        if damaged:
            put(path, (other / name).read_bytes() if damage == "other" else DAMAGES[damage](original))
        before = content_of(Path("runs"))
        for command in READING:
            monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
            result = glassgpt(*command)
            right_or_a_sentence(result)
            assert content_of(Path("runs")) == before
            made = [Path(output) for output in outputs if Path(output).exists()]
            assert result.status == 0 or not made, (command, made)
            if not damaged:
                assert result.status == 0, result
                right[command] = result.output
            elif result.status == 0 and "--split" in command:
                assert result.output == right[command]
            for output in made:
                shutil.rmtree(output) if output.is_dir() else output.unlink()


def test_metrics_of_another_run_are_noticed(glassgpt: Any, other: Path) -> None:
    """Resuming once accepted them, and the report mixed the losses of one run with the samples of the other."""
    metrics = Path("runs/small/metrics.jsonl")
    metrics.write_bytes((other / "metrics.jsonl").read_bytes())
    before = content_of(Path("runs"))
    refused(
        glassgpt("resume", "small"),
        "metrics.jsonl belongs to another run",
        "Put the original back",
        "mv runs/",
    )
    assert content_of(Path("runs")) == before
    listed = glassgpt("runs").output
    assert listed.count("belongs to another run") == 1
    assert "small" in next(line for line in listed.splitlines() if "belongs to another run" in line)
    assert glassgpt("runs", "compare", "small", "other", "--output", "out.png").status == 0
    metrics.rename("runs/small/metrics.jsonl.other")
    result = glassgpt("resume", "small")
    assert result.status == 0, result


def test_a_resumed_run_knows_its_own_metrics(glassgpt: Any, workplace: Path) -> None:
    """Also metrics that were written twice or cut off, and losses that were never finite."""
    for _ in range(2):
        assert glassgpt("resume", "small").status == 0
        with open("runs/small/metrics.jsonl", "ab") as file:
            file.write(b'{"event": "step", "st')
    assert "another run" not in glassgpt("runs").output


def test_a_run_goes_on_where_its_device_is_missing(glassgpt: Any, workplace: Path) -> None:
    config = Path("runs/small/config.toml")
    config.write_text(config.read_text().replace('device = "auto"', 'device = "cuda:99"'))
    newest = max(Path("runs/small/checkpoints").iterdir())
    shutil.rmtree(newest)
    refused(glassgpt("resume", "small"), "--device cpu")
    done = glassgpt("resume", "small", "--device", "cpu")
    assert done.status == 0, done.errors
    assert newest.is_dir()
    assert 'device = "cuda:99"' in config.read_text(), "what the run began with"


def test_a_line_that_is_no_utf_8_does_not_end_a_resume(glassgpt: Any, workplace: Path) -> None:
    """JSON read from bytes accepts half a surrogate pair and UTF-16, which no text file of ours can hold."""
    event = {"event": "note", "step": 1, "text": "half a pair: \ud800"}
    line = json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
    metrics = Path("runs/small/metrics.jsonl")
    metrics.write_bytes(line + b"\n" + metrics.read_bytes())
    assert "damaged: metrics.jsonl (1 line)" in " ".join(glassgpt("runs").output.split())
    assert glassgpt("resume", "small").status == 0


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("config.toml", "noise", "not valid TOML"),
        ("config.toml", "deep TOML", "not valid TOML"),
        ("config.toml", "digits", "not valid TOML"),
        ("config.toml", "pointer", "git lfs pull"),
        ("lineage.json", "pointer", "git lfs pull"),
        ("tokenizer.json", "pointer", "git lfs pull"),
        ("model.safetensors", "pointer", "git lfs pull"),
    ],
)
def test_messages_about_a_damaged_run(
    glassgpt: Any, workplace: Path, name: str, damage: str, says: str
) -> None:
    """A config that is not TOML once gave no way out; unclosed brackets and long numbers ended in tracebacks."""
    path = Path("runs/small", name)
    put(path, DAMAGES[damage](path.read_bytes()))
    result = glassgpt("generate", "small", "The")
    assert result.status == 1
    assert says in result.errors
    assert "Put the original back" in result.errors or "git lfs pull" in result.errors


def test_a_sealed_checkpoint_that_cannot_be_read_is_made_again(glassgpt: Any, workplace: Path) -> None:
    """Such a checkpoint was once skipped, reached again and kept, so half of it became the run's weights."""
    newest = CheckpointStore(Path("runs/small/checkpoints")).steps()[-1]
    weights = Path("runs/small/model.safetensors")
    before = (newest / "model.safetensors").read_bytes(), weights.read_bytes()
    (newest / "model.safetensors").write_bytes(before[0][:9000])
    files.seal(newest)
    result = glassgpt("resume", "small")
    assert result.status == 0, result
    assert ((newest / "model.safetensors").read_bytes(), weights.read_bytes()) == before


def test_a_recipe_and_a_text_that_were_not_fetched(glassgpt: Any, workplace: Path) -> None:
    for name in ("recipe.toml", "asked.json", "moods.csv", "plain.txt"):
        Path(name).write_bytes(POINTER)
    for command in (
        ("train", "text.txt", "--recipe", "recipe.toml"),
        ("train", "plain.txt"),
        ("data", "inspect", "plain.txt"),
        ("plan", "plain.txt", "--minutes", "0.1"),
        ("finetune", "sft", "small", "asked.json"),
        ("finetune", "classify", "small", "moods.csv"),
        ("tokenizer", "encode", "recipe.toml", "text"),
        ("tokenizer", "compare", "runs/small", "--text", "plain.txt"),
        ("eval", "small", "plain.txt"),
    ):
        result = glassgpt(*command)
        assert result.status == 1
        assert "git lfs pull" in result.errors, (command, result.errors)


def test_damaged_runs_are_compared(glassgpt: Any, workplace: Path) -> None:
    for name in ("config.toml", "lineage.json", "metrics.jsonl"):
        for number, damage in enumerate(("half", "noise", "deep")):
            folder = Path(shutil.copytree("runs/small", f"runs/{name[0]}{number}"))
            put(folder / name, DAMAGES[damage]((folder / name).read_bytes()))
    right_or_a_sentence(glassgpt("runs", "compare", *sorted(path.name for path in Path("runs").iterdir())))


def test_metrics_of_nothing_are_compared(glassgpt: Any, workplace: Path) -> None:
    shutil.copytree("runs/small", "runs/none")
    Path("runs/none/metrics.jsonl").write_text("")
    shutil.copytree("runs/small", "runs/gone")
    Path("runs/gone/metrics.jsonl").unlink()
    shutil.copytree("runs/small", "runs/odd")
    event = {"event": "evaluation", "step": 1, "seconds": 0.0, "loss": 0.0, "tokens": 0}
    Path("runs/odd/metrics.jsonl").write_text(json.dumps(event) + "\n")
    result = glassgpt("runs", "compare", "none", "gone", "odd", "--output", "compare.png")
    assert result.status == 0, result
    assert "nan" not in result.output
