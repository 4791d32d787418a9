"""Finding near-duplicates: documents that share most of their five-word runs with an earlier one.

The similarity of two documents is the Jaccard index of their sets of five-word runs. A MinHash sketch of 128
numbers estimates it without keeping the text. Locality-sensitive hashing finds candidates without comparing
all pairs: sketches are cut into bands, and two documents are compared when a whole band agrees. Sources:
Broder 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3; used on training text
with five-word runs by Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better".
Deterministic. Memory grows by about 1 kB per document: the sketch and its places in the index.
"""

from __future__ import annotations

import re

from glassgpt.errors import require

SKETCH = 128  # numbers in a sketch: the estimate's standard error is at most 0.044
RUN = 5  # words
SEED = 42
WORD = re.compile(r"\w+")


class NearDuplicates:
    """Remembers documents and detects near-duplicates of them."""

    def __init__(self, threshold: float):
        self._rensa = require("rensa", extra="data", purpose="find near-duplicate documents")
        self._seen = self._rensa.RMinHashDeduplicator(
            threshold=threshold, num_perm=SKETCH, use_lsh=True, num_bands=bands_for(threshold), seed=SEED
        )
        self._count = 0

    def seen(self, text: str) -> bool:
        """Return whether `text` is a near-duplicate of an earlier document; if not, remember it."""
        runs = word_runs(text)
        if not runs:
            return False
        sketch = self._rensa.RMinHash(num_perm=SKETCH, seed=SEED)
        sketch.update(runs)
        self._count += 1
        return not self._seen.add(str(self._count), sketch)


def word_runs(text: str) -> list[str]:
    """Return the runs of five words in a text, in lower case and without punctuation.

    A shorter text is one run, so it is only similar to an equal text.
    """
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + RUN]) for i in range(max(len(words) - RUN + 1, min(len(words), 1)))]


def bands_for(threshold: float) -> int:
    """Return the number of bands to cut a sketch into so that few pairs at `threshold` are missed.

    A pair with similarity s shares a band with probability 1 - (1 - s^rows)^bands. This takes the fewest bands
    that find a pair at the threshold 95 times in a hundred; more bands would only add comparisons.
    """
    for bands in (1, 2, 4, 8, 16, 32, 64):
        if 1 - (1 - threshold ** (SKETCH // bands)) ** bands >= 0.95:
            return bands
    return SKETCH
