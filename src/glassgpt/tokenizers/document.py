"""Facts about a vocabulary from the content of its `tokenizer.json`, before any text is encoded.

Each function takes the file as parsed JSON in the form that the library `tokenizers` writes, with every
section present.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from glassgpt.tokenizers.byte_chars import BYTE_OF_CHAR, to_bytes
from glassgpt.tokenizers.layout import CUT_WORDS, join_words

# Sections that cannot change the ids of a text.
_NO_MATTER_FOR_IDS = ("version", "truncation", "padding", "post_processor", "decoder")


def kind(content: dict[str, Any]) -> str:
    """Return "char", "word", "bpe" (byte-level), "wordpiece" or "other"."""
    model, cutter = content["model"], content["pre_tokenizer"]
    if model["type"] == "BPE":
        if "ByteLevel" in _types(cutter):
            return "bpe"
        return "char" if _is_char(content) else "other"
    if model["type"] == "WordLevel" and cutter == CUT_WORDS:
        return "word"
    return "wordpiece" if model["type"] == "WordPiece" else "other"


def joins_bytes(content: dict[str, Any]) -> bool:
    """Return whether decoding only joins the tokens' bytes."""
    return _types(content["decoder"]) == {"char": ["Fuse"], "bpe": ["ByteLevel"]}.get(kind(content))


def lossless(content: dict[str, Any]) -> bool:
    """Return whether decoding gives back the text: nothing is changed, added or dropped."""
    if not joins_bytes(content) or content["normalizer"]:
        return False
    if kind(content) == "char":
        return True
    parts = content["pre_tokenizer"].get("pretokenizers", [content["pre_tokenizer"]])
    every_byte = all(char in content["model"]["vocab"] for char in BYTE_OF_CHAR)
    return every_byte and not any(part.get("add_prefix_space") for part in parts)


def fingerprint(content: dict[str, Any]) -> str:
    """Hash everything that decides ids, whatever order and defaults the library writes."""
    matters = {key: _set_values(value) for key, value in content.items() if key not in _NO_MATTER_FOR_IDS}
    return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()


def spelled_bytes(token: str, kind: str) -> bytes:
    """Return the bytes of a token in the middle of a text, from its spelling in the vocabulary."""
    if kind == "bpe":
        try:
            return to_bytes(token)
        except KeyError:
            return token.encode()
    if kind in ("word", "wordpiece"):
        return join_words(["a", token])[1:].encode()
    if len(token) == 6 and token.startswith("<0x"):  # a byte, as SentencePiece spells it
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def _set_values(value: Any) -> Any:
    """Leave out settings that are unset or false, so that a new setting of the library changes nothing."""
    if isinstance(value, dict):
        return {
            key: _set_values(item) for key, item in value.items() if item is not None and item is not False
        }
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_set_values(item) for item in value]
    return value


def _is_char(content: dict[str, Any]) -> bool:
    model = content["model"]
    tokens = [token for token in model["vocab"] if token != model["unk_token"]]
    nothing_else = not (model["merges"] or content["pre_tokenizer"] or content["normalizer"])
    return nothing_else and model["unk_token"] is not None and all(len(token) == 1 for token in tokens)


def _types(section: Any) -> list[str]:
    """Return the types of a pre-tokenizer or decoder; a sequence gives those of its parts."""
    if not section:
        return []
    return [part["type"] for part in section.get("pretokenizers") or section.get("decoders") or [section]]
