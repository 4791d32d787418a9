"""A shell reads a printed command back correctly, whatever names it contains."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.commands import command, quoted

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=60)
@given(st.lists(NAMES, min_size=1, max_size=8))
def test_bash_reads_back_every_word(words: list[str]) -> None:
    line = "printf '%s\\0' " + " ".join(quoted(word) for word in words)
    assert line.isprintable()
    read = subprocess.run(["bash", "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert read.stdout.decode().split("\0")[:-1] == words


def test_a_name_that_is_no_utf8_comes_back() -> None:
    word = b"caf\xe9 au lait".decode("utf-8", "surrogateescape")
    read = subprocess.run(["bash", "-c", f"printf %s {quoted(word)}"], capture_output=True, check=True)
    assert read.stdout == b"caf\xe9 au lait"


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("glassgpt resume small", command("resume", "small")),
        ("glassgpt resume 'it is $HOME'", command("resume", "it is $HOME")),
        ("glassgpt train ./-rf.txt --minutes 5", command("train", "-rf.txt", minutes=5)),
        ('glassgpt generate tale "Once upon a time"', command("generate", "tale", "Once upon a time")),
        ("glassgpt train --recipe=-x.toml", command("train", recipe="-x.toml")),
        ("glassgpt data inspect a.csv --text-field ' $x'", command("data", "inspect", "a.csv", text_field=" $x")),
    ],
)  # fmt: skip
def test_what_it_looks_like(line: str, made: str) -> None:
    assert made == line
