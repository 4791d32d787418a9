"""Byte-level byte-pair encoding, the tokenizer of GPT-2 and most models since, written for reading.

Text is cut into pieces (`patterns`), a piece becomes its UTF-8 bytes, and the bytes are merged pair by pair in
the order in which the pairs were learned. Every text can be encoded, because every byte has an id, and
decoding gives back the exact bytes (Radford et al. 2019, section 2.2).

The ids are in GPT-2's order: 0 to 255 the bytes in the order of `byte_chars`, then one id per merge, and
`<|endoftext|>` last. The fast engines give the same ids; see `fast`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import regex

from glassgpt.tokenizers import layout
from glassgpt.tokenizers.byte_chars import BYTE_ORDER, to_chars
from glassgpt.tokenizers.merging import Pair, learn_merges
from glassgpt.tokenizers.patterns import PATTERNS, Pattern, cut, pieces_to_learn, pre_tokenizer, stretches
from glassgpt.tokenizers.special import END_OF_TEXT, WithSpecialTokens

_ID_OF_BYTE = {byte: id for id, byte in enumerate(BYTE_ORDER)}


class BPETokenizer(WithSpecialTokens):
    """Merges of pairs of ids, in the order learned: the n-th pair becomes the id 256 + n."""

    def __init__(self, merges: Iterable[Pair], *, pattern: str = "gpt2") -> None:
        self.merges = list(merges)
        self.pattern = PATTERNS[pattern]
        self.ranks = {pair: 256 + rank for rank, pair in enumerate(self.merges)}
        self.tokens = [bytes([byte]) for byte in BYTE_ORDER]
        for left, right in self.merges:
            self.tokens.append(self.tokens[left] + self.tokens[right])
        self.special = {END_OF_TEXT: len(self.tokens)}

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: int,
        pattern: str = "gpt2",
        min_frequency: int = 1,
        learned: Callable[[int], None] = lambda _: None,
    ) -> BPETokenizer:
        """Learn merges from `texts`, read once as a stream. `vocab_size` counts every id.

        `learned` is called from time to time with the number of merges so far.
        """
        counts = count_pieces(texts, PATTERNS[pattern])
        words = {tuple(_byte_ids(piece)): count for piece, count in counts.items()}
        most = vocab_size - 257
        merges = learn_merges(words, first_id=256, most=most, min_frequency=min_frequency, learned=learned)
        return cls(merges, pattern=pattern)

    def plain_ids(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        pieces = cut(text, self.pattern.text)
        known = {piece: self.merge(_byte_ids(piece)) for piece in set(pieces)}
        return [id for piece in pieces for id in known[piece]]

    def merge(self, ids: list[int]) -> list[int]:
        """Apply the merges to the ids of one piece: the earliest learned first, from left to right."""
        while len(ids) > 1:
            pairs = list(pairwise(ids))
            at = min(range(len(pairs)), key=lambda index: self.ranks.get(pairs[index], len(self.tokens)))
            if pairs[at] not in self.ranks:
                break
            ids = [*ids[:at], self.ranks[pairs[at]], *ids[at + 2 :]]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens; bytes that are not UTF-8 become U+FFFD."""
        skipped = set(self.special.values())
        return b"".join(self.tokens[id] for id in ids if id not in skipped).decode("utf-8", "replace")

    def to_json(self) -> str:
        """Return the vocabulary as a `tokenizer.json`."""
        chars = [to_chars(token) for token in self.tokens]
        vocab = {token: id for id, token in enumerate(chars)}
        merges = [(chars[left], chars[right]) for left, right in self.merges]
        return layout.tokenizer_json(
            model=layout.bpe_model(vocab, merges),
            pre_tokenizer=pre_tokenizer(self.pattern),
            decoder=layout.JOIN_BYTES,
            special=self.special,
        )


def count_pieces(texts: Iterable[str], pattern: Pattern) -> Counter[str]:
    """Return how often each piece occurs in `texts`; long pieces are cut. Equal stretches are processed only once."""
    stretched: Counter[str] = Counter()
    for text in texts:
        stretched.update(stretches(text, pattern))
    counts: Counter[str] = Counter()
    find_pieces = regex.compile(pattern.text).findall
    for stretch, count in stretched.items():
        for piece in pieces_to_learn(stretch, find_pieces):
            counts[piece] += count
    return counts


def _byte_ids(piece: str) -> list[int]:
    return [_ID_OF_BYTE[byte] for byte in piece.encode()]
