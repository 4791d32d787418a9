"""Text during generation: what each new token adds, as soon as it is certain.

A token may end in the middle of a character; its bytes then wait for the next token. The joined pieces are
exactly `tokenizer.decode` of all ids.
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
        """Return the text that has become certain."""
        if self._tokenizer.joins_bytes:
            return self._bytes.decode(self._tokenizer.decode_bytes([id]))
        return self._push_by_context(id)

    def flush(self) -> str:
        """Return the rest at the end: bytes of an unfinished character show as U+FFFD only here."""
        if self._tokenizer.joins_bytes:
            return self._bytes.decode(b"", final=True)
        rest = self._tokenizer.decode(self._ids)[len(self._shown) :]
        self._ids, self._shown = [], ""
        return rest

    def _push_by_context(self, id: int) -> str:
        """Decode again with the tokens before, for decoders that depend on them, and return the new text.

        A word needs only the token before it. For any other kind of vocabulary all tokens are decoded each
        time; text that the decoder may still change (it ends in U+FFFD, or has changed) waits.
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
