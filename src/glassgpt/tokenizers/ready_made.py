"""Vocabularies that others trained, by name, as `tokenizer.json`.

`tiktoken` publishes them as ranks: the bytes of each token and its id. The merges that made them are not
published, but they can be recovered: merging the bytes of a token alone, its last step joins exactly the
two parts that were merged into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from glassgpt.errors import OfflineError
from glassgpt.files import cache_dir, shared_folder, write_text
from glassgpt.tokenizers import layout
from glassgpt.tokenizers.byte_chars import to_chars
from glassgpt.tokenizers.patterns import GPT2, LLAMA3, O200K, pre_tokenizer

# Their cuts: cl100k's pattern is written differently from Llama 3's and cuts the same.
READY_MADE = {"gpt2": GPT2, "cl100k_base": LLAMA3, "o200k_base": O200K}

# Raised when the conversion gives another file, so that none made before is taken from the cache.
_CONVERSION = 1


def ready_made_json(name: str) -> str:
    """Return one of `READY_MADE` as a `tokenizer.json`, converted once and then kept in the cache folder.

    `tiktoken` downloads it, or takes it from the folder `$TIKTOKEN_CACHE_DIR`. Raises `OfflineError` when
    neither can be.
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
    """Return `tiktoken` ranks, to be cut as `READY_MADE[name]` says, as a `tokenizer.json`."""
    merges = []
    unreachable = False
    for token in sorted(ranks, key=ranks.__getitem__):
        parts = last_parts(token, ranks)
        if len(parts) == 2:
            merges.append((to_chars(parts[0]), to_chars(parts[1])))
        unreachable = unreachable or len(parts) > 2
    # The special tokens stand in the model too: without, the library would number them without gaps.
    vocab = {to_chars(token): id for token, id in ranks.items()} | dict(special)
    return layout.tokenizer_json(
        model=layout.bpe_model(vocab, merges, ignore_merges=unreachable),
        pre_tokenizer=pre_tokenizer(READY_MADE[name]),
        decoder=layout.JOIN_BYTES,
        special=special,
    )


def last_parts(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Merge the bytes of `token` by rank, and return the parts just before they become `token` itself.

    Two parts are its merge; one is a byte; three or more mean that no merge makes it.
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
