"""Checks whether a tokenizer is the one that a model from elsewhere was trained with, as far as its source shows.

A wrong tokenizer causes no error: the model accepts every id, and writes nonsense. So a tokenizer that replaces the
source's own is compared with that one, and with the ids that have a meaning in `config.json`.
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
"""Number of ids, spread over the vocabulary, whose text is compared."""
UNUSED_SHARE = 20
"""At most one in this many of a model's ids may be missing in its tokenizer, because sizes are rounded up."""


def refuse_other(given: FastTokenizer, own: FastTokenizer, name: str) -> None:
    """Raise `InteropError` when a tokenizer gives other ids than the source's own."""
    if given.fingerprint == own.fingerprint:
        return
    difference = _difference(given, own)
    if difference:
        raise InteropError(
            f"--tokenizer {name} is not the tokenizer that this model was trained with: {difference}. Its ids would "
            "mean other words to the model. Leave --tokenizer out to use the source's own. (If that one is known to be "
            "wrong, remove tokenizer.json from the folder.)"
        )


def _difference(given: FastTokenizer, own: FastTokenizer) -> str:
    """Return a few words on how two tokenizers differ, or "" where they do not."""
    for text in SAMPLES:
        ours, theirs = given.encode(text), own.encode(text)
        if ours != theirs:
            return f"{text[:24]!r} is {ours[:4]} ... in it, and {theirs[:4]} ... in the source's own"
    if given.end_of_text != own.end_of_text:
        return f"a text ends with {given.end_of_text} in it, and with {own.end_of_text} in the source's own"
    shared = min(given.vocab_size, own.vocab_size)
    for id in range(0, shared, max(1, shared // COMPARED_IDS)):
        if given.decode([id], skip_special=False) != own.decode([id], skip_special=False):
            return f"{id} stands for other text in it than in the source's own"
    return ""


def notes_on(tokenizer: FastTokenizer, vocab_size: int, special: Mapping[str, int]) -> list[str]:
    """Return reasons to doubt that a tokenizer is the model's: ids it lacks, or that mean something else in it."""
    notes = []
    unused = vocab_size - tokenizer.vocab_size
    if unused > max(16, vocab_size // UNUSED_SHARE):
        notes.append(
            f"The model has {vocab_size:,} ids and the tokenizer only {tokenizer.vocab_size:,}: if that is not the "
            "tokenizer it was trained with, it writes nonsense."
        )
    for name, id in special.items():
        if not 0 <= id < tokenizer.vocab_size:
            notes.append(f"config.json has {name} = {id}, which is not an id of the tokenizer.")
        elif not tokenizer.is_special(id):
            spelling = tokenizer.decode([id], skip_special=False)
            notes.append(f"config.json has {name} = {id}, which in the tokenizer is the text {spelling!r}.")
    return notes
