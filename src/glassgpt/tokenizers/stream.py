"""Text while it is being generated: what each new token adds, as soon as it is certain.

A token may end in the middle of a character, so its bytes wait for the next one. The pieces joined are
exactly `tokenizer.decode` of all the ids.
"""

from __future__ import annotations

import codecs

from glassgpt.tokenizers.fast import FastTokenizer

_REPLACEMENT = "\ufffd"


class StreamDecoder:
    """Decodes one sequence: `push` each id, then `flush` once. Special tokens show nothing."""

    def __init__(self, tokenizer: FastTokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace")
        self._ids: list[int] = []
        self._shown = ""

    def push(self, id: int) -> str:
        """Return the text that is certain now and was not before."""
        if self._tokenizer.joins_bytes:
            return self._bytes.decode(self._tokenizer.decode_bytes([id]))
        return self._push_by_context(id)

    def flush(self) -> str:
        """Return what is left at the end: bytes of an unfinished character show as U+FFFD only here."""
        if self._tokenizer.joins_bytes:
            return self._bytes.decode(b"", final=True)
        rest = self._tokenizer.decode(self._ids)[len(self._shown) :]
        self._ids, self._shown = [], ""
        return rest

    def _push_by_context(self, id: int) -> str:
        """Decode again with the tokens before, for decoders that mind them, and return what is new.

        A word needs only the token before it. For a vocabulary of another kind all tokens are decoded each
        time, and text that its decoder may still take back (it ends in U+FFFD, or has changed) waits.
        """
        text = self._tokenizer.decode([*self._ids, id])
        if self._tokenizer.is_special(id):
            return ""
        self._ids.append(id)
        if text.endswith(_REPLACEMENT) or not text.startswith(self._shown):
            return ""
        new = text[len(self._shown) :]
        self._shown = text
        if self._tokenizer.kind in ("word", "wordpiece"):
            self._ids = [id]
            self._shown = self._tokenizer.decode(self._ids)
        return new
