"""Words and punctuation as tokens, found by a regular expression.

Sequences are short and tokens are readable, but the vocabulary is large, and a word that is not in it becomes
`<|unk|>`. White space is not kept: decoding puts one space between tokens, and none where nobody types one
(before a comma, after an opening bracket). So decoding gives back the words, not the exact text.

The ids: words, the most frequent first, then `<|unk|>`, then `<|endoftext|>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from glassgpt.tokenizers import layout
from glassgpt.tokenizers.patterns import WORD, cut
from glassgpt.tokenizers.special import END_OF_TEXT, UNKNOWN, WithSpecialTokens


class WordTokenizer(WithSpecialTokens):
    """A list of words: the n-th gets the id n."""

    def __init__(self, words: Iterable[str]) -> None:
        self.tokens = [*words, UNKNOWN]
        self.ids = {token: id for id, token in enumerate(self.tokens)}
        self.special = {END_OF_TEXT: len(self.tokens)}

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int = 0, min_frequency: int = 1) -> WordTokenizer:
        """Use the words that occur `min_frequency` times; with a `vocab_size`, the most frequent that fit."""
        return cls.of(count_words(texts), vocab_size=vocab_size, min_frequency=min_frequency)

    @classmethod
    def of(cls, counts: Mapping[str, int], *, vocab_size: int = 0, min_frequency: int = 1) -> WordTokenizer:
        """Use counted words, as `train` does."""
        frequent = [word for word, count in counts.items() if count >= min_frequency]
        by_count = sorted(frequent, key=lambda word: (-counts[word], word))
        return cls(by_count[: vocab_size - 2] if vocab_size else by_count)

    def plain_ids(self, text: str) -> list[int]:
        """Return one id per word or punctuation mark."""
        unknown = self.ids[UNKNOWN]
        return [self.ids.get(word, unknown) for word in cut(text, WORD)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of `ids` as text, without `<|endoftext|>`."""
        skipped = set(self.special.values())
        return layout.join_words([self.tokens[id] for id in ids if id not in skipped])

    def to_json(self) -> str:
        """Return the vocabulary as a `tokenizer.json`."""
        return layout.tokenizer_json(
            model={"type": "WordLevel", "vocab": self.ids, "unk_token": UNKNOWN},
            pre_tokenizer=layout.CUT_WORDS,
            decoder=layout.JOIN_WORDS,
            special=self.special,
        )


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Return how often each word and punctuation mark occurs. Memory grows only with the distinct ones."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(cut(text, WORD))
    return counts
