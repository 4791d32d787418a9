"""Telling text that repeats itself (menus, spam, logs) from prose, by the share that is repeated.

The measures and limits are those of Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights
from Training Gopher", appendix A.1.1, table A1: duplicate lines and paragraphs, and the most frequent runs
of 2, 3 and 4 words. The table's other limits, for duplicate runs of 5 to 10 words, are not applied: they
are for web pages glued together, which duplicate lines show as well, and they would take most of the time.
Note that good verse with a refrain can exceed these limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

DUPLICATE_LINES = 0.30
DUPLICATE_PARAGRAPHS = 0.30
DUPLICATE_LINE_CHARACTERS = 0.20
DUPLICATE_PARAGRAPH_CHARACTERS = 0.20
TOP_RUNS = {2: 0.20, 3: 0.18, 4: 0.16}  # words in a run -> the largest share of the characters


def repetitions(text: str) -> Iterator[str]:
    """Yield the name of each limit that a text exceeds, cheapest check first."""
    lines = [line for line in text.split("\n") if line.strip()]
    paragraphs = [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]
    if duplicate_share(lines) > DUPLICATE_LINES:
        yield "duplicate lines"
    if duplicate_share(paragraphs) > DUPLICATE_PARAGRAPHS:
        yield "duplicate paragraphs"
    if duplicate_character_share(lines) > DUPLICATE_LINE_CHARACTERS:
        yield "characters in duplicate lines"
    if duplicate_character_share(paragraphs) > DUPLICATE_PARAGRAPH_CHARACTERS:
        yield "characters in duplicate paragraphs"
    words = text.split()
    for size, limit in TOP_RUNS.items():
        if top_run_share(words, size) > limit:
            yield f"the same {size} words again and again"


def duplicate_share(parts: Sequence[str]) -> float:
    """Return the share of `parts` that repeat an earlier one."""
    return 1 - len(set(parts)) / len(parts) if parts else 0.0


def duplicate_character_share(parts: Sequence[str]) -> float:
    """Return the share of the characters in parts that repeat an earlier one."""
    total = sum(map(len, parts))
    return 1 - sum(map(len, set(parts))) / total if total else 0.0


def top_run_share(words: Sequence[str], size: int) -> float:
    """Return the share of the characters that the most frequent run of `size` words takes up.

    Among equally frequent runs the longest counts; a run that occurs once is not a repetition.
    """
    runs = Counter(zip(*(words[i:] for i in range(size)), strict=False))
    if not runs:
        return 0.0
    times, length = max((times, sum(map(len, run))) for run, times in runs.items())
    return times * length / sum(map(len, words)) if times > 1 else 0.0
