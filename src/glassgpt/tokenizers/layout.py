"""The layout of a `tokenizer.json`, so that each from-scratch tokenizer can write its file by hand.

The format is that of Hugging Face's `tokenizers`: a model, a pre-tokenizer that cuts the text before it, a
decoder that joins the tokens after it, and the added tokens outside the model. Nothing is normalised: the
text is encoded as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import regex

from glassgpt.tokenizers.patterns import WORD

# A space that a word tokenizer puts between two tokens but nobody would type.
_UNTYPED_SPACE = r"(?<=[(\[{]) | (?=[.,;:!?…)\]}])"

JOIN_BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
CUT_WORDS = {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Removed", "invert": True}
JOIN_WORDS = {
    "type": "Sequence",
    "decoders": [
        {"type": "WordPiece", "prefix": "##", "cleanup": False},
        {"type": "Fuse"},
        {"type": "Replace", "pattern": {"Regex": _UNTYPED_SPACE}, "content": ""},
    ],
}


def join_words(tokens: list[str]) -> str:
    """Join tokens as `JOIN_WORDS` does: with spaces, but none before `##` pieces or around punctuation."""
    spaced = [
        token[2:] if index and token.startswith("##") else " " + token for index, token in enumerate(tokens)
    ]
    return regex.sub(_UNTYPED_SPACE, "", "".join(spaced)[1:])


def tokenizer_json(
    *,
    model: dict[str, Any],
    pre_tokenizer: dict[str, Any] | None,
    decoder: dict[str, Any],
    special: Mapping[str, int],
) -> str:
    """Return a whole `tokenizer.json` as text. `special` maps each special token to its id."""
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(name, id) for name, id in special.items()],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


def bpe_model(vocab: dict[str, int], merges: list[tuple[str, str]], **extra: Any) -> dict[str, Any]:
    """Return the `model` section of a BPE vocabulary. `extra` replaces defaults, such as `unk_token`."""
    defaults = {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return {"type": "BPE", **defaults, **extra, "vocab": vocab, "merges": merges}


def _added_token(name: str, id: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": id, "content": name, **flags}
