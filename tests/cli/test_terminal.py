"""Foreign text must not control the terminal, and a limited or closed terminal must not end the work."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from glassgpt.cli import terminal
from glassgpt.cli.terminal import Output, folded, make_console, printable, shorten, shown, visible
from glassgpt.errors import OutputError

TURNS = "‪‫‬‭‮⁦⁧⁨⁩"
HOSTILE = f"a\x1b[31m\x07\r\n\x9b2J{TURNS}\u2028[bold]x[/bold]:smile:\udcff"


def acts(text: str) -> list[str]:
    """The characters of a text that act on a terminal, except line ends."""
    return [
        character
        for character in text
        if character != "\n"
        and (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in TURNS)
    ]


@given(st.text(st.characters(codec=None)))
def test_whatever_is_shown_is_harmless_and_nothing_is_lost(text: str) -> None:
    assert not acts(visible(text))
    assert "\n" not in visible(text)
    assert visible(visible(text)) == visible(text)
    if text.isprintable():
        assert visible(text) == text
    assert not acts(Text.from_markup(shown(text), emoji=False).plain)


@given(st.text())
def test_what_a_model_wrote_keeps_its_length_lines_and_tabs(text: str) -> None:
    written = printable(text)
    assert len(written) == len(text)
    assert not acts(written.replace("\t", ""))
    assert [i for i, c in enumerate(text) if c in "\n\t"] == [i for i, c in enumerate(written) if c in "\n\t"]


def test_an_escape_sequence_can_be_read() -> None:
    assert visible("a\x1b[31mb\x07\nc\td\u202e") == "a\\x1b[31mb\\x07\\nc\\td\\u202e"
    assert printable("a\x1b[31mb\x07\nc\td") == "a\ufffd[31mb\ufffd\nc\td"


def test_a_console_shows_nothing_that_acts_even_where_a_caller_forgot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = make_console()
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    console.print(HOSTILE, markup=False)
    console.print(table)
    console.print(f"[red]{shown(HOSTILE)}[/]")
    printed = capsys.readouterr().out
    assert not acts(printed)
    assert "[bold]x[/bold]:smile:" in printed


def test_a_long_text_is_cut_visibly() -> None:
    assert shorten("abcdefghij", 8) == "abcde..."
    assert shorten("abcdefgh", 8) == "abcdefgh"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
@settings(max_examples=30)
@given(text=st.text(st.characters(codec=None)))
def test_a_character_that_the_terminal_lacks_is_replaced(encoding: str, text: str) -> None:
    """A run once died at step 0 because the console could not encode the first sample."""
    kept = io.BytesIO()
    output = Output(io.TextIOWrapper(kept, encoding, newline=""))
    output.write(text)
    output.flush()
    assert kept.getvalue().decode(encoding) == text.encode(encoding, "replace").decode(encoding)


def test_tables_are_drawn_in_ascii_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(terminal.sys, "stdout", io.TextIOWrapper(kept, "ascii"))
    table = Table("name")
    table.add_row("größer")
    make_console().print(table)
    assert b"gr??er" in kept.getvalue()
    assert b"+---" in kept.getvalue()


def test_a_full_disk_is_a_sentence_and_a_lasting_output_goes_on() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OutputError, match="could not be written"):
        write_to(Path("/dev/full"), lasting=False)
    write_to(Path("/dev/full"), lasting=True)


def test_a_reader_that_left_ends_what_is_shown_but_no_lasting_work() -> None:
    for lasting in (False, True):
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, "w", encoding="utf-8") as stream:
            output = Output(stream, lasting=lasting)
            if lasting:
                send(output)
            else:
                with pytest.raises(BrokenPipeError):
                    send(output)


def test_a_closed_stream_is_a_sentence() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(OutputError, match="could not be written"):
        send(Output(stream))
    assert not Output(stream).isatty()


def write_to(path: Path, *, lasting: bool) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        send(Output(stream, lasting=lasting))


def send(output: Any) -> None:
    for _ in range(3):
        output.write("a line\n" * 2000)
        output.flush()


def test_sentences_are_no_longer_than_a_person_reads_in_a_wide_window(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a window of 200 columns, remarks of the plan and errors once were lines of 200 characters."""
    monkeypatch.setenv("COLUMNS", "200")
    sentence = "word " * 50
    terminal.say(make_console(), sentence)
    make_console().print(sentence)
    terminal.print_error(OutputError(sentence))
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).splitlines()
    assert 90 < max(map(len, lines)) <= terminal.WIDEST
    make_console().print(sentence, soft_wrap=True)
    assert capsys.readouterr().out.startswith(sentence.rstrip())


def test_sentences_are_not_folded_where_there_is_no_window(capsys: pytest.CaptureFixture[str]) -> None:
    make_console().print("word " * 50)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_command_of_another_program_is_not_broken_either() -> None:
    """`hf download` of an import without a network was broken before --local-dir at 60 columns."""
    line = "hf download Qwen/Qwen3-0.6B --local-dir FOLDER"
    told = f"Or fetch it on a machine with a network, bring the folder here, and import that:  {line}"
    assert folded(told, 60).splitlines()[-1] == line
    assert (
        folded("Install it with:  pip install 'glassgpt[fast]'", 30)
        .splitlines()[-1]
        .startswith("pip install '")
    )
