"""The texts for the benchmarks of tokenizing and preparing: real ones, and generated ones of any size."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

SEPARATOR = "<|endoftext|>"
SHARED = Path(__file__).parents[2] / "shared" / "data"
PARAGRAPHS = 40  # in a document: about ten thousand characters


def use_kept_vocabularies() -> None:
    """Let tiktoken find GPT-2's vocabulary beside the texts, if it is kept there, instead of downloading it."""
    kept = SHARED.parent / "tiktoken-cache"
    if kept.is_dir():
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(kept))


def shared(name: str) -> Path:
    """Return the path of one of the real texts, or exit with a message if it is missing."""
    path = SHARED / name
    if not path.is_file():
        sys.exit(f"This benchmark reads {path}, which is not here: put a plain text of that kind there.")
    return path


def fairytales() -> str:
    """Return four megabytes of public-domain tales."""
    return shared("fairytales.txt").read_text(encoding="utf-8")


def write_corpus(path: Path, size: int) -> None:
    """Write about `size` bytes: the tales repeated, each time in a different order and with different names.

    A document is `PARAGRAPHS` paragraphs. No two are the same, so cleaning drops none, and each round adds new words.
    """
    with open(path, "w", encoding="utf-8") as file:
        written = 0
        for document in documents():
            written += file.write(f"{document}\n{SEPARATOR}\n")
            if written >= size:
                return


def documents() -> Iterator[str]:
    """Yield documents endlessly."""
    tales = fairytales().replace(SEPARATOR, "")
    seed = 0
    while True:
        chance = random.Random(seed)
        paragraphs = [part for part in _with_other_names(tales, chance).split("\n\n") if part.strip()]
        chance.shuffle(paragraphs)
        for start in range(0, len(paragraphs), PARAGRAPHS):
            yield "\n\n".join(paragraphs[start : start + PARAGRAPHS])
        seed += 1


def _with_other_names(text: str, chance: random.Random) -> str:
    for word in ("King", "Queen", "Princess", "Prince", "wolf", "fox", "horse", "castle", "forest", "witch"):
        text = text.replace(word, "".join(chance.choices("aeioulmnrst", k=7)).capitalize())
    return text
