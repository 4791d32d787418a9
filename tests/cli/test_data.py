"""`glassgpt data inspect` on real files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glassgpt.cli.data import app
from glassgpt.errors import CorpusError


def inspect(*arguments: str) -> None:
    app(["inspect", *arguments], result_action="return_value", exit_on_error=False)


@pytest.fixture
def tales(tmp_path: Path) -> Path:
    path = tmp_path / "tales.jsonl"
    lines = [f'{{"title": "T{n}", "story": "Tale {n} of the lamp."}}\n' for n in range(150)]
    path.write_text("".join([*lines, lines[0]]))
    return path


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_inspect_shows_sources_cleaning_figures_and_splits(tales: Path, capsys):
    inspect(str(tales), "--split.test", "0.1")
    shown = capsys.readouterr().out
    assert "tales.jsonl" in shown
    assert "150 of 151 documents kept" in shown
    assert "the same as an earlier one. For example" in shown
    assert "validation" in shown
    assert "test" in shown
    assert "name a --tokenizer" in shown


@pytest.mark.slow
def test_how_the_distinct_words_grow_is_a_column_and_no_size_is_shown_where_none_is_known(
    tales: Path, capsys
):
    inspect("builtin:tinytales")
    lines = capsys.readouterr().out.splitlines()
    assert not any("size on disk" in line for line in lines)
    first = next(n for n, line in enumerate(lines) if "distinct words" in line)
    assert all(re.fullmatch(r" +after [\d,]+ words +[\d,]+ *", line) for line in lines[first + 1 : first + 4])
    inspect(str(tales))
    assert "size on disk" in capsys.readouterr().out


def test_the_leak_is_a_sentence_that_fits_a_narrow_window(tales: Path, capsys, monkeypatch):
    """It once was a column of nine characters, with the indented lines around it broken at the edge."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tales.parent)
    inspect(tales.name)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("  Of the validation text, ") for line in lines)
    assert "also occur in the training text." in " ".join(map(str.strip, lines))
    after = lines[next(n for n, line in enumerate(lines) if "Of the validation" in line) :]
    assert len(after) > 1
    assert all(line.startswith("  ") for line in after)


def test_the_field_and_the_mode_can_be_chosen(tales: Path, capsys):
    for flag in ("--text-field", "--corpus.text-field"):
        inspect(str(tales), flag, "title", "--cleaning.mode", "off")
        shown = capsys.readouterr().out
        assert "151 of 151 documents kept" in shown
        assert "T0" in shown


def test_a_wrong_name_raises_what_the_command_line_prints(tales: Path):
    with pytest.raises(CorpusError, match=r"Did you mean .*tales\.jsonl"):
        inspect(str(tales.with_name("tale.jsonl")))
    with pytest.raises(CorpusError, match="No text was named"):
        inspect()


def test_markup_in_file_names_and_texts_is_shown_as_it_is(tmp_path: Path, capsys):
    path = tmp_path / "[red]odd.txt"
    path.write_text("[bold]not bold[/nothing] text")
    inspect(str(path))
    shown = capsys.readouterr().out
    assert "[red]odd.txt" in shown
    assert "[bold]not bold[/nothing]" in shown


def test_tokens_are_counted_with_the_named_tokenizer(
    shared_data: Path, tiktoken_cache: Path, monkeypatch, capsys
):
    """The Verdict has 5,145 GPT-2 tokens, as every course that uses it says."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
    inspect(str(shared_data / "the-verdict.txt"), "--tokenizer", "gpt2")
    shown = capsys.readouterr().out
    assert "5,145 (3.98 bytes each)" in shown
    assert "name a --tokenizer" not in shown
