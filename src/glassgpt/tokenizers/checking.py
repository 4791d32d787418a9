"""Checks on a `tokenizer.json` from elsewhere, before it is used.

The library `tokenizers` reads the format but trusts the file: a high id makes it allocate that much memory, and some
faults are Rust panics, which are not `Exception`s, so that `except Exception` does not catch them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from glassgpt.errors import GlassGPTError, TokenizerError

HIGHEST_ID = 2**22
"""Far above any existing vocabulary. Tables of a vocabulary have a row for each id up to the highest."""
_NO_FILE = "This is not a tokenizer.json that can be used"
_WAY_OUT = "Get the file again, or write it again with the program that made it."


def refuse_impossible(text: str) -> None:
    """Raise `TokenizerError` for the text of a `tokenizer.json` whose vocabulary is impossible."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "it is too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise _wrong(f"it is not JSON ({why})") from error
    if not isinstance(content, dict):
        raise _wrong("it is not a JSON object")
    model, added = content.get("model"), content.get("added_tokens") or []
    if not isinstance(model, dict):
        raise _wrong("it has no section `model`")
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        _check_ids([(token, id, "vocab") for token, id in vocab.items()])
    elif not isinstance(vocab, list) or not all(map(_is_scored, vocab)):
        raise _wrong("its `vocab` does not map tokens to ids")
    _check_merges(model.get("merges") or [])
    if not isinstance(added, list) or not all(map(_is_added, added)):
        raise _wrong("its `added_tokens` are not a list of tokens with `id` and `content`")
    _check_ids([(token["content"], token["id"], "added_tokens") for token in added])


@contextlib.contextmanager
def library(doing: str) -> Iterator[None]:
    """Turn any exception or panic of the library into a `TokenizerError` that begins with `doing`."""
    try:
        yield
    except GlassGPTError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        said = " ".join(str(error).split())[:300].rstrip(".")
        raise TokenizerError(f"{doing}: {said}. {_WAY_OUT}") from error


def reading() -> contextlib.AbstractContextManager[None]:
    """Return `library` for reading a file."""
    return library(_NO_FILE)


def encoding() -> contextlib.AbstractContextManager[None]:
    """Return `library` for encoding a text: a vocabulary's pattern may never finish."""
    return library("This vocabulary cannot encode the text")


def _check_ids(tokens: list[tuple[str, Any, str]]) -> None:
    seen: dict[int, str] = {}
    for token, id, section in tokens:
        if not isinstance(id, int) or isinstance(id, bool) or id < 0:
            raise _wrong(
                f"in `{section}` the token {token!r:.60} has the id {id!r:.40}, not a whole number from 0"
            )
        if id > HIGHEST_ID:
            raise _wrong(
                f"in `{section}` the token {token!r:.60} has the id {id:,}, and no id may be above {HIGHEST_ID:,}"
            )
        if seen.setdefault(id, token) != token:
            raise _wrong(f"`{section}` has the id {id} twice, for {seen[id]!r:.60} and {token!r:.60}")
        _refuse_surrogate(token, section)


def _refuse_surrogate(token: str, section: str) -> None:
    try:
        token.encode()
    except UnicodeEncodeError as error:
        raise _wrong(
            f"`{section}` has the token {token!r:.60}, half a character (a lone surrogate)"
        ) from error


def _check_merges(merges: Any) -> None:
    if not isinstance(merges, list):
        raise _wrong("its `merges` are not a list")
    for number, merge in enumerate(merges, start=1):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise _wrong(f"merge {number} is {merge!r:.60}, not two tokens")


def _is_scored(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)


def _is_added(token: Any) -> bool:
    return isinstance(token, dict) and isinstance(token.get("content"), str) and "id" in token


def _wrong(what: str) -> TokenizerError:
    return TokenizerError(f"{_NO_FILE}: {what}. {_WAY_OUT}")
