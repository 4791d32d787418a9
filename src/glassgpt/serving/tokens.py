"""Tokens and log-probabilities as OpenAI's answers tell them: the old form of completions, and that of chats.

A token is told as its text. One that is only a part of a character is told as its bytes, `bytes:\\xe2\\x98`, so that
two tokens never look alike: lm-eval looks a token up among the likeliest by its log-probability, and one that hid
another would change its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from glassgpt.generation.requests import Chosen
from glassgpt.generation.text import CONTEXT_TOKENS
from glassgpt.serving.prompts import Prompt
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.stream import StreamDecoder

LOWEST = -9999.0
"""Told for a probability of 0, whose logarithm JSON cannot hold; OpenAI does the same."""


def told(log_probability: float | None) -> float | None:
    """Return a log-probability as a number of JSON."""
    return None if log_probability is None else max(LOWEST, log_probability)


def token_text(tokenizer: FastTokenizer, id: int) -> str:
    """Return the text by which a token is told; different tokens have different ones wherever they can."""
    if id >= tokenizer.vocab_size:
        return f"token_id:{id}"
    if tokenizer.is_special(id) or id == tokenizer.unknown_id:
        return tokenizer.decode([id], skip_special=False)
    spelled = tokenizer.token_bytes(id)
    try:
        return spelled.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelled)


def token_bytes(tokenizer: FastTokenizer, id: int) -> list[int]:
    """Return the UTF-8 bytes that a token adds to a text."""
    return list(tokenizer.token_bytes(id)) if id < tokenizer.vocab_size else []


@dataclass
class OldForm:
    """The log-probabilities of one choice of `/v1/completions`, as its tokens come.

    `text_offset` is where in the choice's text a token begins.
    """

    tokenizer: FastTokenizer
    prompt: Prompt
    echo: bool
    _decoder: StreamDecoder = field(init=False)
    _offset: int = 0

    def __post_init__(self) -> None:
        self._decoder = StreamDecoder(self.tokenizer)
        if not (self.echo or self.tokenizer.joins_bytes):
            for id in self.prompt.ids[-CONTEXT_TOKENS:]:
                self._decoder.push(id)

    def of_prompt(self, chosen: Sequence[Chosen]) -> dict[str, list[Any]]:
        """Return the entries of the prompt, the first without a log-probability."""
        own = chosen[self.prompt.before :]
        return join_old_forms(
            [self._entries(own[:1], of_prompt=True, known=False), self._entries(own[1:], of_prompt=True)]
        )

    def of(self, chosen: Sequence[Chosen]) -> dict[str, list[Any]]:
        """Return the entries of some tokens that were written."""
        return self._entries(chosen)

    def _entries(
        self, chosen: Sequence[Chosen], *, of_prompt: bool = False, known: bool = True
    ) -> dict[str, list[Any]]:
        names = [token_text(self.tokenizer, one.id) for one in chosen]
        offsets = []
        for one, name in zip(chosen, names, strict=True):
            offsets.append(self._offset)
            self._offset += self._length(one.id, name, of_prompt)
        return {
            "tokens": names,
            "token_logprobs": [told(one.log_probability) if known else None for one in chosen],
            "top_logprobs": [
                self._top(one, name) if known else None for one, name in zip(chosen, names, strict=True)
            ],
            "text_offset": offsets,
        }

    def _length(self, id: int, name: str, of_prompt: bool) -> int:
        """Return how many characters a token adds: a special one is in the text of a prompt, and in no other."""
        if id >= self.tokenizer.vocab_size:
            return 0
        added = len(self._decoder.push(id))
        return len(name) if of_prompt and self.tokenizer.is_special(id) else added

    def _top(self, chosen: Chosen, name: str) -> dict[str, float | None]:
        """Return the likeliest tokens, likeliest first, and the chosen one."""
        top: dict[str, float | None] = {}
        for id, log_probability in chosen.likeliest:
            top.setdefault(token_text(self.tokenizer, id), told(log_probability))
        top.setdefault(name, told(chosen.log_probability))
        return top


def join_old_forms(parts: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Return the entries of several parts of a choice as one."""
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return {name: [entry for part in parts for entry in part[name]] for name in names}


def chat_form(tokenizer: FastTokenizer, chosen: Sequence[Chosen]) -> dict[str, Any]:
    """Return the log-probabilities of some tokens of a chat's choice."""

    def entry(id: int, log_probability: float | None) -> dict[str, Any]:
        return {
            "token": token_text(tokenizer, id),
            "logprob": told(log_probability),
            "bytes": token_bytes(tokenizer, id),
        }

    content = [
        entry(one.id, one.log_probability) | {"top_logprobs": [entry(*likely) for likely in one.likeliest]}
        for one in chosen
    ]
    return {"content": content, "refusal": None}
