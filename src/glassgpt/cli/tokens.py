"""How the tokens of a text are shown: coloured or in quotes, each with its id, and counted while they pass by."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from glassgpt.cli.terminal import Output, visible

if TYPE_CHECKING:
    from rich.console import Console

    from glassgpt.tokenizers.fast import FastTokenizer

COLOURS = ("cyan", "green", "yellow", "magenta", "blue")


def unknown_count(tokenizer: FastTokenizer, ids: Sequence[int]) -> int:
    """Return how many of some ids are the unknown token; 0 for a vocabulary without one."""
    if tokenizer.unknown_id is None or tokenizer.unknown_id == tokenizer.end_of_text:
        return 0
    return ids.count(tokenizer.unknown_id)


class Counts:
    """The figures below an encoded text, counted while its parts pass by."""

    def __init__(self, tokenizer: FastTokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens = self._bytes = self._unknown_tokens = 0
        self._unknown: dict[str, None] = {}

    def watch(self, parts: Iterable[tuple[str, list[int]]]) -> Iterator[list[int]]:
        """Yield the ids of each part, and count them."""
        for text, ids in parts:
            self._tokens += len(ids)
            self._bytes += len(text.encode("utf-8", "replace"))
            self._unknown_tokens += unknown_count(self._tokenizer, ids)
            self._unknown.update(dict.fromkeys(self._tokenizer.unknown(text)))
            yield ids

    def lines(self) -> Iterator[str]:
        """Yield the lines to print."""
        known_all = self._tokens and not self._unknown_tokens
        per_token = f", {self._bytes / self._tokens:.2f} bytes a token" if known_all else ""
        yield f"\n{counted(self._tokens, 'token')} for {counted(self._bytes, 'byte')}{per_token}"
        if self._unknown:
            yield f"Not in the vocabulary: {' '.join(map(visible, self._unknown))}"


def write_ids(output: Output, found: Iterable[list[int]]) -> None:
    """Write ids in one line, as they come."""
    between = ""
    for ids in found:
        if ids:
            output.write(between + " ".join(map(str, ids)))
            between = " "
    output.write("\n")
    output.flush()


def paints_of(console: Console) -> list[tuple[str, str, str]]:
    """Return what is printed before, inside and after a token with its id: the escape codes of each colour, or quotes.

    The codes are rendered once: a styled text for each token took a hundred times as long as encoding it.
    """
    from rich.text import Text

    if console.color_system is None:
        return [('"', '"', "")]
    paints = []
    for colour in COLOURS:
        with console.capture() as captured:
            console.print(Text("x", style=f"black on {colour}").append("y", style="dim"), end="")
        before, rest = captured.get().split("x")
        within, after = rest.split("y")
        paints.append((before, within, after))
    return paints


def token_lines(
    tokenizer: FastTokenizer,
    found: Iterable[list[int]],
    *,
    width: int,
    paints: list[tuple[str, str, str]],
) -> Iterator[str]:
    """Yield lines of tokens, each followed by its id, and none broken at the end of a line."""
    from rich.cells import cell_len

    quotes = 2 if len(paints) == 1 else 0
    known: dict[int, tuple[str, str, int]] = {}
    line: list[str] = []
    filled = 0
    for id, (before, within, after) in zip(
        itertools.chain.from_iterable(found), itertools.cycle(paints), strict=False
    ):
        if id not in known:
            piece, number = _visible(tokenizer, id), f" {id}  "
            known[id] = (piece, number, cell_len(piece + number) + quotes)
        piece, number, cells = known[id]
        if line and filled + cells > width:
            yield "".join(line)
            line, filled = [], 0
        line.append(f"{before}{piece}{within}{number}{after}")
        filled += cells
    yield "".join(line)


def _visible(tokenizer: FastTokenizer, id: int) -> str:
    """Return the text of a token on one line; bytes that are not a whole character show as \\xNN."""
    text = tokenizer.token_bytes(id).decode("utf-8", "backslashreplace")
    text = text or tokenizer.decode([id], skip_special=False)
    return visible(text.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥"))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 token", "2 tokens"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
