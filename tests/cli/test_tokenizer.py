"""`glassgpt tokenizer` as a user runs it: train, see, go back, compare."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tracemalloc
from pathlib import Path

import pytest
from rich.text import Text

from glassgpt.cli.tokenizer import app
from glassgpt.errors import CorpusError, RunError, TokenizerError
from glassgpt.tokenizers.load import load_tokenizer

STORY = "The gulls counted the ships, and the ships counted the gulls.\nNobody counted the lamp.\n" * 3


@pytest.fixture
def story(tmp_path: Path) -> Path:
    (tmp_path / "story.txt").write_text(STORY, encoding="utf-8")
    return tmp_path / "story.txt"


@pytest.fixture
def trained(story: Path) -> str:
    out = story.parent / "tokenizer.json"
    run("train", str(story), "--output", str(out), "--vocab-size", "300")
    return str(out)


def run(*arguments: str) -> None:
    app(list(arguments), result_action="return_value")


def trained_on(story: Path, kind: str) -> str:
    out = str(story.parent / f"{kind}.json")
    run("train", str(story), "--output", out, "--kind", kind)
    return out


def words(output: str) -> str:
    return " ".join(output.split())


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
def test_each_kind_is_trained_and_written(kind: str, story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = story.parent / "deep" / "mine.json"
    run(
        "train",
        str(story),
        "--output",
        str(out),
        "--kind",
        kind,
        "--vocab-size",
        "270",
        "--min-frequency",
        "1",
    )
    tokenizer = load_tokenizer(out)
    assert tokenizer.kind == kind
    assert f"{kind}, {tokenizer.vocab_size} ids" in words(capsys.readouterr().out)


def test_a_folder_gets_a_tokenizer_json(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("train", str(story), "--output", str(story.parent), "--engine", "python", "--pattern", "qwen2")
    assert (story.parent / "tokenizer.json").is_file()
    assert "gives no more ids" in words(capsys.readouterr().out)


def test_both_engines_write_the_same_file(story: Path) -> None:
    files = []
    for engine in ("rust", "python"):
        files.append(story.parent / f"{engine}.json")
        run("train", str(story), "--output", str(files[-1]), "--engine", engine, "--vocab-size", "290")
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_piped_encoding_shows_each_piece_in_quotes_with_its_id(
    trained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run("encode", trained, "the gulls\n\u00e9")
    output = capsys.readouterr().out
    tokenizer = load_tokenizer(trained)
    shown = [int(id) for id in re.findall(r'" (\d+)', output)]
    assert shown == tokenizer.encode("the gulls\n\u00e9")
    assert '" gulls"' in output
    assert '"⏎"' in output
    assert r'"\xc3"' in output
    assert f"{len(shown)} tokens for 12 bytes" in output
    assert "\x1b" not in output


def test_a_terminal_shows_colours(
    trained: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    run("encode", trained, "the gulls")
    output = capsys.readouterr().out
    assert "\x1b[" in output
    assert '"' not in output.splitlines()[-3]


def test_no_piece_is_broken_at_the_end_of_a_line(
    trained: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    capsys.readouterr()
    run("encode", trained, STORY)
    pieces = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert len(pieces) > 3
    assert all(re.fullmatch(r'("[^"]*" \d+ *)+', line) and len(line) <= 40 for line in pieces)


LONG = STORY * 600  # several blocks of input, and some tokens in each of them


class Counted(io.StringIO):
    """An output that counts what is written to it."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


@pytest.fixture
def styled_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The styled texts that rich received, each of which costs as much as encoding a hundred tokens."""
    made: list[str] = []
    begin = Text.__init__

    def counted(self: Text, text: str = "", *rest: object, **options: object) -> None:
        made.append(text)
        begin(self, text, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Text, "__init__", counted)
    return made


@pytest.mark.parametrize("colour", ["", "1"])
def test_a_long_text_is_written_line_by_line_and_no_token_costs_a_styled_text(
    colour: str, trained: str, styled_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte once took a minute, because each token went through a separate styled text."""
    monkeypatch.setenv("FORCE_COLOR", colour)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = []
    for text in (STORY, LONG):
        styled_texts.clear()
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with contextlib.redirect_stdout(Counted()) as output:
            run("encode", trained, "-")
        assert output.writes <= output.getvalue().count("\n") + 10
        made.append(len(styled_texts))
    assert made[0] == made[1] < 50


def test_the_parts_of_a_long_text_show_as_one(
    trained: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    ids = load_tokenizer(trained).encode(LONG)
    monkeypatch.setattr("sys.stdin", io.StringIO(LONG))
    run("encode", trained, "-")
    output = capsys.readouterr().out
    assert [int(id) for id in re.findall(r'" (\d+)  ', output)] == ids
    assert f"{len(ids):,} tokens for {len(LONG):,} bytes, {len(LONG) / len(ids):.2f} bytes a token" in output
    assert all(len(line) > 80 for line in output.splitlines()[:-3])
    monkeypatch.setattr("sys.stdin", io.StringIO(LONG))
    run("encode", trained, "-", "--ids")
    assert capsys.readouterr().out == " ".join(map(str, ids)) + "\n"


@pytest.mark.parametrize("options", [(), ("--ids",)])
def test_memory_does_not_grow_with_the_text(
    options: tuple[str, ...], trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = []
    for times in (1, 1, 6):  # the first call includes one-time costs
        (tmp_path / "long.txt").write_text(LONG * times, encoding="utf-8")
        with (
            open(os.devnull, "w") as nowhere,
            open(tmp_path / "long.txt", encoding="utf-8") as text,
            contextlib.redirect_stdout(nowhere),
        ):
            monkeypatch.setattr("sys.stdin", text)
            tracemalloc.start()
            run("encode", trained, "-", *options)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1], peaks


def test_ids_go_out_and_come_back(
    trained: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    text = "- the gulls, <|endoftext|> and 😀"
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    run("encode", trained, "-", "--ids")
    ids = capsys.readouterr().out.split()
    run("decode", trained, *ids)
    assert capsys.readouterr().out == text + "\n"


def test_line_ends_of_the_standard_input_stay_as_they_are(
    trained: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A "\\r\\n" was once encoded as "\\n", so the ids differed from those in training on the same file."""
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\r\nb\r"), encoding="utf-8"))
    run("encode", trained, "-", "--ids")
    assert list(map(int, capsys.readouterr().out.split())) == load_tokenizer(trained).encode("a\r\nb\r")


def test_special_tokens_are_taken_and_shown_only_when_asked(
    trained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    run("encode", trained, "<|endoftext|>", "--ids", "--allow-special")
    ids = capsys.readouterr().out.split()
    assert ids == [str(load_tokenizer(trained).end_of_text)]
    run("decode", trained, *ids)
    run("decode", trained, *ids, "--show-special")
    assert capsys.readouterr().out == "\n<|endoftext|>\n"


def test_unknown_text_is_reported(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("encode", trained_on(story, "word"), "the dragon")
    assert "Not in the vocabulary: dragon" in capsys.readouterr().out


def test_tokenizers_are_compared_on_one_text(
    trained: str, story: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    chars = trained_on(story, "char")
    capsys.readouterr()
    run("compare", chars, trained, "--text", str(story))
    output = words(capsys.readouterr().out)
    size = int(re.search(r"Measured on (\d+) bytes", output)[1])  # type: ignore[index]
    assert abs(size - len(STORY)) <= 1
    assert re.search(rf"char {load_tokenizer(chars).vocab_size} {size} 1\.00 0 [\d.]+ ", output)
    tokens = len(load_tokenizer(trained).encode(STORY))
    assert re.search(rf"bpe 290 {tokens}\b", output)


def test_unknown_text_makes_no_figure_better(
    trained: str, story: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown words are one token each, however long, so `word` once seemed to need the fewest tokens."""
    monkeypatch.setenv("COLUMNS", "300")
    words_ = trained_on(story, "word")
    other = story.parent / "other.txt"
    other.write_text("Incomprehensibilities notwithstanding, ships misunderstood. " * 9)
    capsys.readouterr()
    run("compare", words_, trained, "--text", str(other))
    output = words(capsys.readouterr().out)
    assert re.search(r"word \d+ \d+ - 3 \(\d\d\.\d% of tokens\)", output), output
    assert re.search(r"bpe 290 \d+ \d\.\d\d 0 ", output)
    run("encode", words_, "incomprehensibilities")
    assert "bytes a token" not in capsys.readouterr().out


def test_mistakes_are_explained(trained: str, story: Path) -> None:
    with pytest.raises(TokenizerError, match="No tokenizer was named"):
        run("compare", "--text", str(story))
    with pytest.raises(RunError, match="ready-made"):
        run("encode", "gpt-2", "text")
    with pytest.raises(TokenizerError, match="There is no token 5000"):
        run("decode", trained, "5000")
    with pytest.raises(CorpusError):
        run("train", str(story.parent / "nothing.txt"), "--output", trained)
    with pytest.raises(TokenizerError, match="257 or more"):
        run("train", str(story), "--output", trained, "--vocab-size", "100", "--force")


def test_a_comparison_stays_readable_in_a_narrow_window(
    trained: str, story: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In 60 columns the rows of the table were once folded over the edge."""
    monkeypatch.setenv("COLUMNS", "60")
    run("compare", trained, trained, "--text", str(story))
    figures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line.split()[0] for line in figures] == ["kind", "ids", "tokens", "bytes", "unknown", "MB/s"] * 2
    assert max(map(len, figures)) <= 60
