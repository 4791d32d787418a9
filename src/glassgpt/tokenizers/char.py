"""Characters as tokens: the smallest tokenizer, and the easiest to understand.

A token is one Unicode code point. The vocabulary is the characters of the training text in sorted order,
then `<|unk|>` for any other, then `<|endoftext|>`. It is lossless for text of these characters.
`tokenizer.json` stores it as a BPE without merges, which is equivalent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from glassgpt.tokenizers import layout
from glassgpt.tokenizers.special import END_OF_TEXT, UNKNOWN, WithSpecialTokens


class CharTokenizer(WithSpecialTokens):
    """A table of characters: the n-th gets the id n."""

    def __init__(self, chars: Iterable[str]) -> None:
        self.tokens = [*chars, UNKNOWN]
        self.ids = {token: id for id, token in enumerate(self.tokens)}
        self.special = {END_OF_TEXT: len(self.tokens)}

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int = 0) -> CharTokenizer:
        """Use the characters of `texts`; with a `vocab_size`, the most frequent that fit."""
        return cls.of(count_chars(texts), vocab_size=vocab_size)

    @classmethod
    def of(cls, counts: Mapping[str, int], *, vocab_size: int = 0) -> CharTokenizer:
        """Use counted characters; with a `vocab_size`, the most frequent that fit."""
        by_count = sorted(counts, key=lambda char: (-counts[char], char))
        return cls(sorted(by_count[: vocab_size - 2] if vocab_size else by_count))

    def plain_ids(self, text: str) -> list[int]:
        """Return one id per character."""
        unknown = self.ids[UNKNOWN]
        return [self.ids.get(char, unknown) for char in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without `<|endoftext|>`. Unknown characters show as `<|unk|>`."""
        skipped = set(self.special.values())
        return "".join(self.tokens[id] for id in ids if id not in skipped)

    def to_json(self) -> str:
        """Return the vocabulary as a `tokenizer.json`."""
        return layout.tokenizer_json(
            model=layout.bpe_model(self.ids, [], unk_token=UNKNOWN),
            pre_tokenizer=None,
            decoder={"type": "Fuse"},
            special=self.special,
        )


def count_chars(texts: Iterable[str]) -> Counter[str]:
    """Return how often each character occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return counts
