"""Whether a tokenizer is the one that a model from elsewhere has learned with, as far as its source tells.

A wrong one is not noticed by computing: every id below the model's is a valid one, and what comes out is nonsense.
So a tokenizer that is given in place of the source's own is compared with that, and with the ids to which
`config.json` gives a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

from glassgpt.errors import InteropError
from glassgpt.tokenizers.fast import FastTokenizer

SAMPLES = (
    "Hello, world! It's 2026.",
    "  def f(x):\n\treturn x**2\n\n",
    "naïve café – “so”, 日本語 🙂",
    "Once upon a time there was a miller who counted 12345 sacks.",
)
COMPARED_IDS = 500
"""How many ids, spread over the vocabulary, are compared by what they stand for."""
UNUSED_SHARE = 20
"""A model has at most one id in so many more than its tokenizer: what it takes to round a size up."""


def refuse_other(given: FastTokenizer, own: FastTokenizer, name: str) -> None:
    """Raise `InteropError` when a tokenizer gives other ids than the source's own."""
    if given.fingerprint == own.fingerprint:
        return
    difference = _difference(given, own)
    if difference:
        raise InteropError(
            f"--tokenizer {name} is not the tokenizer that this model has learned with: {difference}. To the model its "
            "ids would mean other words. Leave --tokenizer out, and the source's own is taken. (Where that one is "
            "known to be wrong, take tokenizer.json out of the folder.)"
        )


def _difference(given: FastTokenizer, own: FastTokenizer) -> str:
    """Say in a few words how two tokenizers differ, or return "" where they do not."""
    for text in SAMPLES:
        ours, theirs = given.encode(text), own.encode(text)
        if ours != theirs:
            return f"{text[:24]!r} is {ours[:4]} ... in it, and {theirs[:4]} ... in the source's own"
    if given.end_of_text != own.end_of_text:
        return f"a text ends with {given.end_of_text} in it, and with {own.end_of_text} in the source's own"
    shared = min(given.vocab_size, own.vocab_size)
    for id in range(0, shared, max(1, shared // COMPARED_IDS)):
        if given.decode([id], skip_special=False) != own.decode([id], skip_special=False):
            return f"{id} stands for another text in it than in the source's own"
    return ""


def notes_on(tokenizer: FastTokenizer, vocab_size: int, special: Mapping[str, int]) -> list[str]:
    """Return what makes one doubt that a tokenizer is the model's: ids it lacks, or that mean something else in it."""
    notes = []
    unused = vocab_size - tokenizer.vocab_size
    if unused > max(16, vocab_size // UNUSED_SHARE):
        notes.append(
            f"The model has {vocab_size:,} ids and the tokenizer only {tokenizer.vocab_size:,}: if that is not the "
            "tokenizer it has learned with, what it writes is nonsense."
        )
    for name, id in special.items():
        if not 0 <= id < tokenizer.vocab_size:
            notes.append(f"config.json has {name} = {id}, which is no id of the tokenizer.")
        elif not tokenizer.is_special(id):
            spelling = tokenizer.decode([id], skip_special=False)
            notes.append(f"config.json has {name} = {id}, which in the tokenizer is the text {spelling!r}.")
    return notes
