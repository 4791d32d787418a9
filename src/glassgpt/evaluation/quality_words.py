"""What a model writes at a given quality, in words.

Bits per byte on held-out text say how well a model predicts, but not what its writing looks like. The table maps one to
the other. It agrees with seven samples of English prose at 3.27 to 1.34 bits per byte (docs/why-is-it-bad.md); the
bounds between them, and all below 1.34, are estimates. Text with few different sentences, such as the built-in stories,
is easier: there the same number promises less.
"""

from __future__ import annotations

WORDS = (
    (3.0, "noise: letters and pieces of words"),
    (2.2, "real words in no sensible order"),
    (1.7, "phrases and short sentences that do not follow from each other"),
    (1.2, "sentences that are mostly right, with a thread that is soon lost"),
    (0.0, "whole passages that hold together"),
)
"""(bits per byte, what a model writes that is at least this bad), from noise to sense."""
SENTENCES = 1.7
"""Bits per byte below which samples were sentences, and answers began to follow the question (docs/experiments.md)."""


def in_words(bits_per_byte: float) -> str:
    """Return what a model of this quality writes."""
    return next(words for least, words in WORDS if bits_per_byte >= least)
