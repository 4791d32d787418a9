"""What a user sees when something is wrong: one short paragraph with the way out, never a traceback."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TINY, refused


def test_empty_file(glassgpt: Any, workplace: Path) -> None:
    Path("empty.txt").write_text("")
    refused(glassgpt("train", "empty.txt", *TINY), "empty")
    assert not Path("runs/empty-1").exists()


def test_text_shorter_than_one_window(glassgpt: Any, workplace: Path) -> None:
    Path("short.txt").write_text("A few words only, and then no more of them. " * 3)
    result = glassgpt("train", "short.txt", *TINY, "--tokenizer.kind=char", "--model.context-length=512")
    refused(result, "too few for one window", "--model.context-length", "at most")


def test_binary_file(glassgpt: Any, workplace: Path) -> None:
    Path("picture.txt").write_bytes(bytes(range(256)) * 20)
    refused(glassgpt("train", "picture.txt", *TINY), "picture.txt")


def test_utf16_with_a_mark_is_read(glassgpt: Any, workplace: Path) -> None:
    Path("wide.txt").write_text("Größe und Güte gehören zusammen. " * 200, encoding="utf-16")
    result = glassgpt("train", "wide.txt", *TINY, "--tokenizer.kind=char", "--model.context-length=16")
    assert result.status == 0, result
    assert "ö" in Path("runs/wide-1/tokenizer.json").read_text(encoding="utf-8")


def test_missing_path_names_the_nearest(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("train", "texr.txt"), "texr.txt", "text.txt")


def test_unknown_key_in_a_recipe_names_the_nearest(glassgpt: Any, workplace: Path) -> None:
    Path("mine.toml").write_text("[training]\nstepps = 3\n")
    refused(glassgpt("train", "text.txt", "--recipe", "mine.toml"), "training.stepps", "Did you mean steps?")


def test_wrong_type_in_a_recipe_names_the_place(glassgpt: Any, workplace: Path) -> None:
    Path("mine.toml").write_text("[training]\nsteps = 'many'\n")
    refused(glassgpt("train", "text.txt", "--recipe", "mine.toml"), "mine.toml", "training.steps", "int")


def test_unknown_recipe_names_the_nearest(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("train", "text.txt", "--recipe", "shakespear"), "Did you mean shakespeare-char")


def test_unknown_option_names_the_nearest(glassgpt: Any, workplace: Path) -> None:
    result = glassgpt("train", "text.txt", "--training.stepps", "3")
    assert result.status == 2
    assert "Did you mean --training.steps?" in result.errors + result.output


def test_setting_out_of_range(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("train", "text.txt", "--training.batch-size", "0"), "batch_size", "at least 1")
    refused(glassgpt("train", "text.txt", "--model.n-head", "3"), "n_head", "multiple")


def test_vocabulary_smaller_than_the_alphabet(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("train", "text.txt", *TINY, "--tokenizer.vocab-size=100"), "257")


def test_run_with_another_tokenizer(glassgpt: Any, workplace: Path) -> None:
    content = json.loads(Path("runs/small/tokenizer.json").read_text())
    content["model"]["merges"] = content["model"]["merges"][:-1]
    Path("runs/small/tokenizer.json").write_text(json.dumps(content))
    refused(glassgpt("generate", "small", "The"), "not the tokenizer this run was made with")


def test_altered_checkpoint_falls_back_and_says_so(glassgpt: Any, workplace: Path) -> None:
    newest = sorted(Path("runs/small/checkpoints").iterdir())[-1]
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    before = Path("runs/small/model.safetensors").read_bytes()
    result = glassgpt("resume", "small")
    assert result.status == 0, result
    assert newest.name in result.output
    assert "cannot be used" in result.output
    assert Path("runs/small/model.safetensors").read_bytes() == before


def test_altered_weights(glassgpt: Any, workplace: Path) -> None:
    file = Path("runs/small/model.safetensors")
    file.write_bytes(file.read_bytes()[:-4])
    refused(glassgpt("generate", "small", "The"), "truncated or altered", "glassgpt resume small")
    file.unlink()
    assert glassgpt("resume", "small").status == 0
    assert glassgpt("generate", "small", "The").status == 0


def test_changed_text_cannot_be_resumed(glassgpt: Any, workplace: Path) -> None:
    config = Path("runs/small/config.toml")
    other = workplace / "other.txt"
    other.write_text("Quite another text. " * 300)
    text = config.read_text()
    start = text.index("sources = ["), text.index("]", text.index("sources = ["))
    config.write_text(text[: start[0]] + f'sources = ["{other}"' + text[start[1] :])
    refused(glassgpt("resume", "small"), "has changed since the run began")


def test_prompt_never_seen(glassgpt: Any, workplace: Path) -> None:
    settings = (*TINY, "--model.context-length=16", "--tokenizer.kind=char", "--name=chars")
    assert glassgpt("train", "text.txt", *settings).status == 0
    refused(glassgpt("generate", "chars", "The 猫 sat"), "'猫'", "not in this model's vocabulary")


def test_run_directory_that_exists(glassgpt: Any, workplace: Path) -> None:
    refused(
        glassgpt("train", "text.txt", "--name", "small"), "exists already", "--name", "glassgpt resume small"
    )


def test_run_that_does_not_exist(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("generate", "smal", "The"), "Did you mean small?")


def test_no_network(glassgpt: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("GLASSGPT_CACHE", str(workplace / "cache"))
    refused(
        glassgpt("train", "tinyshakespeare"), "could not be reached", "tinyshakespeare.txt", str(workplace)
    )


def test_broken_line_in_a_jsonl(glassgpt: Any, workplace: Path) -> None:
    Path("broken.jsonl.gz").write_bytes(gzip.compress(b'{"text": "fine"}\n{"text": \n'))
    refused(glassgpt("train", "broken.jsonl.gz", *TINY), "broken.jsonl.gz:2")


def test_unknown_tracker(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("train", "text.txt", "--track", "tensorbord"), "Did you mean tensorboard?")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["small"]


def test_bad_sampling_setting(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("generate", "small", "The", "--top-p", "1.5"), "top_p")


def test_unknown_device(glassgpt: Any, workplace: Path) -> None:
    refused(glassgpt("generate", "small", "The", "--device", "gpu"), "gpu", "cpu")
