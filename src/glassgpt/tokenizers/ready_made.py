"""Vocabularies that others trained, by name, as `tokenizer.json`.

`tiktoken` publishes them as ranks: the bytes of each token and its id. The merges that made them are not
published, but they can be recovered: when the bytes of one token are merged, the last step joins exactly
the two parts of its merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from glassgpt.errors import OfflineError
from glassgpt.files import cache_dir, shared_folder, write_text
from glassgpt.tokenizers import layout
from glassgpt.tokenizers.byte_chars import to_chars
from glassgpt.tokenizers.patterns import GPT2, LLAMA3, O200K, pre_tokenizer

# Their patterns: cl100k's is written differently from Llama 3's but cuts the same way.
READY_MADE = {"gpt2": GPT2, "cl100k_base": LLAMA3, "o200k_base": O200K}

# Increased when the conversion changes, so that an older file in the cache is not used.
_CONVERSION = 1


def ready_made_json(name: str) -> str:
    """Return one of `READY_MADE` as a `tokenizer.json`, converted once and then kept in the cache folder.

    `tiktoken` downloads it, or takes it from the folder `$TIKTOKEN_CACHE_DIR`. Raises `OfflineError` when
    both fail.
    """
    kept = cache_dir() / "tokenizers" / f"{name}-{_CONVERSION}.json"
    with shared_folder(kept.parent):
        if not kept.is_file():
            write_text(kept, _convert(name))
        return kept.read_text(encoding="utf-8")


def _convert(name: str) -> str:
    import requests
    from tiktoken_ext import openai_public

    try:
        published = openai_public.ENCODING_CONSTRUCTORS[name]()
    except requests.RequestException as error:
        raise OfflineError(
            f"The vocabulary {name!r} is downloaded on first use, and that failed. Try again with a network; "
            "or load it once on a machine that has one, with TIKTOKEN_CACHE_DIR set to a folder, bring that "
            "folder here and set TIKTOKEN_CACHE_DIR to it; or train a tokenizer of your own."
        ) from error
    return ranks_to_json(name, published["mergeable_ranks"], published["special_tokens"])


def ranks_to_json(name: str, ranks: Mapping[bytes, int], special: Mapping[str, int]) -> str:
    """Return `tiktoken` ranks as a `tokenizer.json` with the pattern `READY_MADE[name]`."""
    merges = []
    unreachable = False
    for token in sorted(ranks, key=ranks.__getitem__):
        parts = last_parts(token, ranks)
        if len(parts) == 2:
            merges.append((to_chars(parts[0]), to_chars(parts[1])))
        unreachable = unreachable or len(parts) > 2
    # The special tokens are also in the model; otherwise the library would number them without gaps.
    vocab = {to_chars(token): id for token, id in ranks.items()} | dict(special)
    return layout.tokenizer_json(
        model=layout.bpe_model(vocab, merges, ignore_merges=unreachable),
        pre_tokenizer=pre_tokenizer(READY_MADE[name]),
        decoder=layout.JOIN_BYTES,
        special=special,
    )


def last_parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Merge the bytes of `token` by rank, and return the parts just before they become `token` itself.

    Two parts are its merge; one part is a byte; three or more mean that no merge makes it.
    """
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 2:
        unions = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        lowest = min(unions)
        if lowest == len(ranks):
            break
        at = unions.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
