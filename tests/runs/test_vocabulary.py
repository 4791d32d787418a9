"""The name of a run also names its tokenizer.

`tokenizer encode small` once took it, and `data inspect --tokenizer small` did not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from glassgpt.errors import RunError
from glassgpt.runs.vocabulary import tokenizer_place
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.train import train_tokenizer


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run as far as names and tokenizers go."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLASSGPT_RUNS", raising=False)
    path = Path("runs/small")
    path.mkdir(parents=True)
    (path / "config.toml").touch()
    train_tokenizer(["the cat sat on the mat"], TokenizerConfig(kind="char")).save(path / "tokenizer.json")
    return path


def test_a_run_is_found_by_name_path_and_as_the_latest(run: Path) -> None:
    for name in ("small", "latest", str(run), str(run / "tokenizer.json")):
        assert load_tokenizer(tokenizer_place(name)).vocab_size == load_tokenizer(run).vocab_size


def test_a_run_never_replaces_a_ready_made_vocabulary(run: Path) -> None:
    shutil.copytree(run, "runs/gpt2")
    assert tokenizer_place("gpt2") == "gpt2"


def test_other_names_stay_as_they_are(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("smal", "", "some/folder", "cl100k_base"):
        assert tokenizer_place(name) == name
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(RunError):
        tokenizer_place("latest")
