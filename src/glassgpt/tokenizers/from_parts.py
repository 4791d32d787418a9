"""A byte-level BPE tokenizer from its parts as other programs hold them: a vocabulary, merges, special tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from glassgpt.errors import TokenizerError, did_you_mean
from glassgpt.tokenizers import layout
from glassgpt.tokenizers.byte_chars import to_chars
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.patterns import PATTERNS, pre_tokenizer
from glassgpt.tokenizers.special import END_OF_TEXT


def bpe_from_parts(
    vocabulary: Mapping[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
) -> FastTokenizer:
    """Return the tokenizer with these ids and merges, the earliest merge first (Sennrich et al., 2016).

    `vocabulary` maps every id to the bytes of its token. A special token that it does not hold gets the next free id,
    and so does `<|endoftext|>`, which a model needs. `pattern` names how text is cut into pieces before merging.

    Raises `TokenizerError` when a byte or the result of a merge has no id, or when two ids have the same bytes.
    """
    if pattern not in PATTERNS:
        raise TokenizerError(
            f"There is no pattern {pattern!r}.{did_you_mean(pattern, PATTERNS, most=1)} "
            f"Choose one of: {', '.join(PATTERNS)}."
        )
    ids = {token: id for id, token in vocabulary.items()}
    if len(ids) < len(vocabulary):
        twice = next(token for id, token in vocabulary.items() if ids[token] != id)
        raise TokenizerError(
            f"Two ids of the vocabulary have the same bytes: {twice!r}. Each token needs its own."
        )
    names = list(dict.fromkeys([*special_tokens, END_OF_TEXT]))
    free = max(vocabulary, default=-1) + 1
    special: dict[str, int] = {}
    for name in names:
        special[name] = ids.pop(name.encode(), free)
        free = max(free, special[name] + 1)
    _refuse_missing(ids, merges)
    # The library keeps the id of a special token only where the vocabulary holds it, too.
    spelled = {to_chars(token): id for token, id in ids.items()} | special
    model = layout.bpe_model(spelled, [(to_chars(left), to_chars(right)) for left, right in merges])
    return FastTokenizer.from_json(
        layout.tokenizer_json(
            model=model,
            pre_tokenizer=pre_tokenizer(PATTERNS[pattern]),
            decoder=layout.JOIN_BYTES,
            special=special,
        )
    )


def _refuse_missing(ids: Mapping[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> None:
    for byte in range(256):
        if bytes([byte]) not in ids:
            raise TokenizerError(
                f"The vocabulary has no id for the byte {bytes([byte])!r}. A byte-level vocabulary needs all 256, so "
                "that any text can be encoded."
            )
    for number, (left, right) in enumerate(merges):
        for token in (left, right, left + right):
            if token not in ids:
                raise TokenizerError(
                    f"Merge {number} needs the token {token!r}, which the vocabulary does not have."
                )
