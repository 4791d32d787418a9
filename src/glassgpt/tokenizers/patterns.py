"""How text is cut into pieces before a vocabulary is applied: no token ever crosses such a cut.

The byte-level patterns are those of well-known models, because llama.cpp knows a pattern only by the name of
a model: a vocabulary with another pattern could not be exported. They keep a word together with the space
before it. The word pattern, used by the `word` and `wordpiece` kinds, drops white space and separates words
from punctuation.

The from-scratch tokenizers cut with the library `regex`, the fast engines with their own libraries. All agree,
except on letters that were recently added to Unicode, which only `regex` may know as letters.

Some places can be cut whatever follows. `stretches` finds most of them: cutting with a pattern is slow, so it is done
only once for each distinct stretch. `blocks` finds a few, to encode a long text in parts, and `safe_parts` does the
same for a text that arrives in parts.

A text without a space, such as a genome, base64 or Chinese, is one piece however long it is. Learning merges from it
would take time that grows with the square of its length. So a vocabulary is learned from pieces of up to
`LONGEST_PIECE` characters; encoding does not cut any further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import regex


@dataclass(frozen=True, slots=True)
class Pattern:
    """A way to cut text: its name here, its regular expression, its name in llama.cpp, and its stretches."""

    name: str
    text: str
    llama_cpp: str
    stretch: re.Pattern[str]
    """Finds white space and the text after it, up to the next place where `text` cuts in any case."""


# No byte-level pattern has a piece with white space after other characters, and none looks behind. So a cut
# before white space changes nothing, with one exception: all but GPT-2's allow line ends after punctuation.
_BLANKS_AND_WORD = re.compile(r"\s*\S+|\s+")
_LINES_IF_NEEDED = re.compile(r"\s*\S+(?:(?<![A-Za-z0-9])[\r\n]\s*\S*)*|\s+")
_SAFE_CUT = re.compile(r"(?<=\S) ")
_LAST_SAFE_CUT = re.compile(r"(?s:.*)(?<=\S)(?= )")
LONGEST_PIECE = 1024
"""The most characters in a piece from which merges are learned; a longer piece is cut into such parts."""
# A longer piece contains a run of white space, or of anything else, of at least half this length.
_LONG_RUN = re.compile(rf"\S{{{LONGEST_PIECE // 2}}}|\s{{{LONGEST_PIECE // 2}}}")
# White space for Python, but not for the patterns.
_SEPARATORS = "\x1c\x1d\x1e\x1f"


_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD_WITH_PREFIX = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_PUNCTUATION_AND_SPACE = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

GPT2 = Pattern(
    name="gpt2",
    text=r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    llama_cpp="gpt-2",
    stretch=_BLANKS_AND_WORD,
)


def _like_llama3(name: str, *, digits: str, llama_cpp: str) -> Pattern:
    text = f"{_CONTRACTIONS}|{_WORD_WITH_PREFIX}|{digits}|{_PUNCTUATION_AND_SPACE}"
    return Pattern(name, text, llama_cpp=llama_cpp, stretch=_LINES_IF_NEEDED)


LLAMA3 = _like_llama3("llama3", digits=r"\p{N}{1,3}", llama_cpp="llama-bpe")
QWEN2 = _like_llama3("qwen2", digits=r"\p{N}", llama_cpp="qwen2")
O200K = Pattern(
    name="o200k",
    text=(
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|"
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    llama_cpp="gpt-4o",
    stretch=_LINES_IF_NEEDED,
)
PATTERNS = {pattern.name: pattern for pattern in (GPT2, LLAMA3, QWEN2, O200K)}

_LETTER = r"\p{L}\p{M}\p{N}_"
WORD = rf"[{_LETTER}]+(?:['’-][{_LETTER}]+)*|--+|\.\.\.|[^\s{_LETTER}]"
"""Words (with inner apostrophes and hyphens), dashes, an ellipsis, any other sign by itself."""


def cut(text: str, pattern: str) -> list[str]:
    """Return the pieces of `text` that the regular expression `pattern` finds, in order.

    With a byte-level pattern the joined pieces are the text; with `WORD` the white space is dropped.
    """
    return regex.findall(pattern, text)


def stretches(text: str, pattern: Pattern) -> list[str]:
    """Return `text` in parts, mostly words with the space before; `pattern` always cuts between them.

    Cutting or encoding each part separately gives the same result as the whole text.
    """
    if any(separator in text for separator in _SEPARATORS):
        return [text]
    return pattern.stretch.findall(text)


def pieces_to_learn(text: str, find: Callable[[str], list[str]]) -> Iterator[str]:
    """Yield the pieces that `find` finds in `text`, none longer than `LONGEST_PIECE` characters."""
    for piece in find(text):
        if len(piece) <= LONGEST_PIECE:
            yield piece
            continue
        for start in range(0, len(piece), LONGEST_PIECE):
            yield from find(piece[start : start + LONGEST_PIECE])


def may_have_long_pieces(text: str) -> bool:
    """Return whether a piece of `text` may be longer than `LONGEST_PIECE`; never False when one is."""
    return len(text) > LONGEST_PIECE and _LONG_RUN.search(text) is not None


def blocks(text: str, size: int) -> Iterator[str]:
    """Yield `text` in parts of `size` characters (1 or more) or a little more; every pattern cuts between them."""
    start = 0
    while place := _SAFE_CUT.search(text, start + size):
        yield text[start : place.start()]
        start = place.start()
    yield text[start:]


def safe_parts(incoming: Iterable[str]) -> Iterator[str]:
    """Yield a text that arrives in pieces as parts of about the same size; every pattern cuts between them.

    A text without a space is one part.
    """
    held: list[str] = []
    before = ""  # the last character held so far
    for some in incoming:
        if found := _LAST_SAFE_CUT.match(before + some):
            place = found.end() - len(before)
            yield "".join(held) + some[:place]
            held, some = [], some[place:]
        held.append(some)
        before = some[-1:] or before
    if rest := "".join(held):
        yield rest


def pre_tokenizer(pattern: Pattern) -> dict[str, Any]:
    """Return the `pre_tokenizer` section of a byte-level `tokenizer.json`, as in the model's original file."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    if pattern is GPT2:
        return byte_level
    split = {"type": "Split", "pattern": {"Regex": pattern.text}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level | {"use_regex": False}]}


def recognise(section: Any) -> Pattern | None:
    """Return the pattern that a `pre_tokenizer` section applies, or None if it does anything else."""
    known = (pattern for pattern in PATTERNS.values() if _plain(pre_tokenizer(pattern)) == _plain(section))
    return next(known, None)


def _plain(section: Any) -> Any:
    """Drop `trim_offsets`, which moves offsets and never ids."""
    if isinstance(section, dict):
        return {key: _plain(value) for key, value in section.items() if key != "trim_offsets"}
    return [_plain(item) for item in section] if isinstance(section, list) else section
