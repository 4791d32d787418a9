"""WordPiece, the tokenizer of BERT: words are cut into pieces, the longest known piece first.

A piece that continues a word is written with `##`: "playing" may be `play ##ing`. Encoding is greedy: take
the longest piece that the word starts with, then the longest that continues it (Wu et al. 2016; Devlin et
al. 2019). A word with a character outside the vocabulary, or with more than 100 characters, is `<|unk|>`.

Training joins the most frequent pair, like BPE and Hugging Face's trainer. WordPiece is often said to join the
pair with the highest count(ab) / (count(a) count(b)), but that score prefers pairs of rare letters, while the
value of a join is the number of tokens that it saves, which is its count. Ties go to the smaller ids. The Rust
trainer numbers the `##` letters in random order, so its runs differ; this trainer is the reference here.

The ids: each letter, each `##` letter (so that any word of known letters can be encoded), one id per merge,
then `<|unk|>` and `<|endoftext|>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers import layout
from glassgpt.tokenizers.merging import learn_merges
from glassgpt.tokenizers.patterns import LONGEST_PIECE, WORD, cut
from glassgpt.tokenizers.special import END_OF_TEXT, UNKNOWN, WithSpecialTokens
from glassgpt.tokenizers.word import count_words

LONGEST_WORD = 100


class WordPieceTokenizer(WithSpecialTokens):
    """A list of pieces: the n-th gets the id n."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self.tokens = [*pieces, UNKNOWN]
        self.ids = {token: id for id, token in enumerate(self.tokens)}
        self.special = {END_OF_TEXT: len(self.tokens)}
        self.longest = max(map(len, self.tokens))

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int, min_frequency: int = 1) -> WordPieceTokenizer:
        """Learn pieces from `texts`, read once as a stream. `vocab_size` counts every id.

        Raises `TokenizerError` when the letters alone need more ids.
        """
        return cls.of(count_words(texts), vocab_size=vocab_size, min_frequency=min_frequency)

    @classmethod
    def of(
        cls,
        counts: Mapping[str, int],
        *,
        vocab_size: int,
        min_frequency: int = 1,
        learned: Callable[[int], None] = lambda _: None,
    ) -> WordPieceTokenizer:
        """Learn pieces from counted words, as `train` does; `learned` is called with the number so far."""
        pieces = alphabet(counts)
        if vocab_size < len(pieces) + 2:
            raise TokenizerError(
                f"The text has {len(pieces) // 2} different characters, so a WordPiece vocabulary of it "
                f"needs at least {len(pieces) + 2} ids, and `vocab_size` is {vocab_size}. Set it to "
                f"{len(pieces) + 2} or more, or use kind `bpe`, which needs 257 for any text."
            )
        ids = {piece: id for id, piece in enumerate(pieces)}
        words: Counter[tuple[int, ...]] = Counter()
        for word, count in counts.items():
            spelled = letters(word)
            for start in range(0, len(spelled), LONGEST_PIECE):
                words[tuple(ids[letter] for letter in spelled[start : start + LONGEST_PIECE])] += count
        most = vocab_size - len(pieces) - 2
        merges = learn_merges(
            words, first_id=len(pieces), most=most, min_frequency=min_frequency, learned=learned
        )
        for left, right in merges:
            pieces.append(pieces[left] + pieces[right].removeprefix("##"))
        return cls(pieces)

    def plain_ids(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        words = cut(text, WORD)
        known = {word: self.longest_pieces(word) for word in set(words)}
        return [id for word in words for id in known[word]]

    def longest_pieces(self, word: str) -> list[int]:
        """Return the ids of one word: the longest piece first, then the longest that continues it."""
        unknown = [self.ids[UNKNOWN]]
        if len(word) > LONGEST_WORD:
            return unknown
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self.longest), start, -1):
                if (piece := prefix + word[start:end]) in self.ids:
                    found.append(self.ids[piece])
                    start = end
                    break
            else:
                return unknown
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of `ids` as text, without `<|endoftext|>`."""
        skipped = set(self.special.values())
        return layout.join_words([self.tokens[id] for id in ids if id not in skipped])

    def to_json(self) -> str:
        """Return the vocabulary as a `tokenizer.json`."""
        return layout.tokenizer_json(
            model={
                "type": "WordPiece",
                "unk_token": UNKNOWN,
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": LONGEST_WORD,
                "vocab": self.ids,
            },
            pre_tokenizer=layout.CUT_WORDS,
            decoder=layout.JOIN_WORDS,
            special=self.special,
        )


def letters(word: str) -> list[str]:
    """Return a word's characters as pieces: "abc" as `a ##b ##c`."""
    return [word[0], *("##" + char for char in word[1:])]


def alphabet(words: Iterable[str]) -> list[str]:
    """Return every character of `words` in sorted order, then each with `##`."""
    chars = sorted({char for word in words for char in word})
    return [*chars, *("##" + char for char in chars)]
