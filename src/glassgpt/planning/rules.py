"""The rules of thumb of a plan: pure functions of the text and the time.

Each was fitted to measured runs (docs/experiments.md, docs/planning.md) and holds for models that train in seconds to
days. Change a number here, and every plan changes with it.
"""

from __future__ import annotations

import math

from glassgpt.planning.text import TextFacts

BYTE_IDS = 257
"""Ids of a byte-level vocabulary that are not words: the bytes, and the end of a text."""


def vocabulary_for(text: TextFacts, seconds: float) -> int:
    """Return the size of the vocabulary: a power of two that text and time can fill.

    A word must occur often enough to be learned, and each word makes every step more expensive. Fitted to runs of equal
    arithmetic on 4 MB of tales ("The vocabulary" in docs/experiments.md).
    """
    by_text = 2048 * (text.bytes / 1e6) ** 0.35
    by_time = 2048 * (seconds / 10) ** 0.2
    all_words = 2 ** math.ceil(math.log2(BYTE_IDS + text.words))
    return min(all_words, 2 ** round(math.log2(min(32768.0, max(512.0, min(by_text, by_time))))))


def bytes_per_token(text: TextFacts, vocab_size: int) -> float:
    """Return approximately how many bytes a token stands for.

    It is counted where the text is short. For English it is 2.5 with 1,024 ids, and 0.4 more for each doubling; it is
    the length of a word where every word has an id.
    """
    if text.token_bytes is not None:
        return text.token_bytes
    if vocab_size >= BYTE_IDS + text.words:
        return max(1.0, text.word_bytes)
    return min(max(1.0, text.word_bytes), max(1.0, 0.4 * math.log2(vocab_size) - 1.5))


def batch_tokens_for(tokens: float) -> int:
    """Return the tokens per update for a run on `tokens`: proportional to the square root, a power of two.

    Half as many updates of twice the size read the same amount of text and are cheaper, until too few are left to
    learn. Below 2,048 tokens the optimizer's work becomes a large part of an update. A run that is too short for 60
    updates of that size makes smaller ones.
    """
    least = min(2048.0, max(64.0, tokens / 60))
    return 2 ** round(
        math.log2(min(262144.0, max(least, 2.5 * math.sqrt(tokens) if tokens >= 60 * 2048 else least)))
    )


def context_for(text: TextFacts, vocab_size: int, seconds: float) -> tuple[int, str]:
    """Return the context length, and the order of the rows.

    Many short documents are read from their beginnings, in windows that hold nine of ten of them whole. Other text is
    read in windows that grow with the time.
    """
    usual = text.usual_bytes / bytes_per_token(text, vocab_size)
    if text.documents >= 1000 and usual <= 512:
        return max(32, 2 ** math.ceil(math.log2(usual + 1))), "documents"
    by_time = 128 if seconds < 240 else 256 if seconds < 3600 else 512 if seconds < 8 * 3600 else 1024
    # The validation text has to fill some windows, too.
    held = text.bytes / bytes_per_token(text, vocab_size) / 20
    return min(by_time, max(8, 2 ** int(math.log2(max(8.0, held))))), "random"


def dropout_for(epochs: float) -> float:
    """Return the dropout of a run that makes this number of passes over its text."""
    return 0.0 if epochs < 4 else 0.05 if epochs < 8 else 0.1


def pauses_for(seconds: float) -> int:
    """Return how many times a run pauses for an evaluation."""
    return min(12, max(2, int(seconds / 8)))
