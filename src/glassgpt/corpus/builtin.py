"""The corpora in the package, which need no network: `builtin:tinytales` and `builtin:lantern`.

`builtin:tinytales[:count[:seed]]` generates `count` short stories from a grammar; the same count and seed
give the same stories. `builtin:lantern` is one longer story.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator

from glassgpt.corpus.documents import Document
from glassgpt.errors import CorpusError, did_you_mean

BUILTINS = ("builtin:tinytales", "builtin:lantern")
TALES = 20_000


def parse_tinytales(spec: str) -> tuple[int, int]:
    """Return (count, seed) of `builtin:tinytales[:count[:seed]]`, or raise `CorpusError`."""
    numbers = spec.split(":")[2:]
    try:
        count, seed = [int(number) for number in numbers] + [TALES, 0][len(numbers) :]
    except ValueError:
        count, seed = 0, 0
    if count < 1 or seed < 0:
        raise CorpusError(
            f"{spec!r} is not of the form builtin:tinytales[:count[:seed]], with a count of at least 1 "
            "and a seed of at least 0, for example builtin:tinytales:5000:7."
        )
    return count, seed


def read_tinytales(count: int, seed: int) -> Iterator[Document]:
    """Yield `count` stories of the built-in story world."""
    from glassgpt.corpus.tinytales.generate import stories

    for number, text in enumerate(stories(count, seed), start=1):
        yield Document(text, f"builtin:tinytales#{number}")


def tinytales_version() -> str:
    """Return the version of the story world: the same count, seed and version give the same stories."""
    from glassgpt.corpus.tinytales.generate import VERSION

    return VERSION


def lantern_text() -> str:
    """Return the built-in story."""
    story = importlib.resources.files("glassgpt.corpus") / "stories" / "lantern.txt"
    return story.read_text(encoding="utf-8")


def unknown_builtin(spec: str) -> CorpusError:
    """Return the error for a `builtin:` name that does not exist."""
    near = did_you_mean(spec, BUILTINS) or f" There are {' and '.join(BUILTINS)}."
    return CorpusError(f"There is no {spec!r}.{near}")
