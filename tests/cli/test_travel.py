"""`glassgpt import` and `glassgpt export`: a trained run is exported and imported again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_trained_run_goes_out_and_comes_back(glassgpt: Any, workplace: Path) -> None:
    out = glassgpt("export", "small", "--to", "hf")
    assert out.status == 0, out.errors
    assert "small-hf" in out.output
    assert "Checked with transformers" in out.output
    back = glassgpt("import", "small-hf", "--name", "back")
    assert back.status == 0, back.errors
    assert "glassgpt generate back" in back.output
    asked = ("The cat", "--greedy", "--max-tokens", "8")
    written = glassgpt("generate", "back", *asked)
    assert written.status == 0
    assert written.output.startswith("The cat")
    runs = glassgpt("runs")
    assert "imported" in runs.output
    before, after = (load_file(f"runs/{name}/model.safetensors") for name in ("small", "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_imported_run_is_measured_on_text_that_is_named(glassgpt: Any, workplace: Path) -> None:
    glassgpt("export", "small")
    glassgpt("import", "small-hf", "--name", "back")
    measured, original = glassgpt("eval", "back", "text.txt"), glassgpt("eval", "small", "text.txt")
    assert measured.status == 0, measured.errors
    assert measured.output.splitlines()[1:] == original.output.splitlines()[1:]
    for command in (("eval", "back", "--split", "validation"), ("resume", "back")):
        refused = glassgpt(*command)
        assert refused.status == 1
        assert "imported" in refused.errors


def test_gguf_and_its_options(glassgpt: Any, workplace: Path) -> None:
    done = glassgpt("export", "small", "--to", "gguf", "--dtype", "q8_0", "--output", "out/a.gguf")
    assert done.status == 0, done.errors
    assert (workplace / "out/a.gguf").is_file()
    assert "llama.cpp" in done.output
    assert "stay in f16" in done.output  # it is 16 wide
    again = glassgpt("export", "small", "--to", "gguf", "--output", "out/a.gguf")
    assert again.status == 1
    assert "exists already" in again.errors


def test_a_notebook_comes_in(glassgpt: Any, workplace: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=300, n_positions=16, n_layer=1, n_head=2, n_embd=16)
    torch.save(transformers.GPT2LMHeadModel(config).state_dict(), "model.pth")
    refused = glassgpt("import", "model.pth", "--tokenizer", "runs/small")
    assert refused.status == 1
    assert "--heads" in refused.errors
    done = glassgpt("import", "model.pth", "--heads", "2", "--tokenizer", "runs/small")
    assert done.status == 0, done.errors
    assert glassgpt("generate", "model-1", "The", "--max-tokens", "3").status == 0


def test_errors_are_one_paragraph(glassgpt: Any, workplace: Path) -> None:
    for arguments in (("import", "nothing/there"), ("import", "no.pth"), ("export", "none")):
        result = glassgpt(*arguments)
        assert result.status == 1
        assert result.errors.startswith("Error: ")


def test_without_the_library_it_says_what_to_install(
    glassgpt: Any, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gguf", None)
    result = glassgpt("export", "small", "--to", "gguf")
    assert result.status == 1
    assert "glassgpt[gguf]" in result.errors
    monkeypatch.setitem(sys.modules, "transformers", None)
    result = glassgpt("export", "small", "--to", "hf")
    assert result.status == 0, result.errors
    assert "not installed" in result.output
