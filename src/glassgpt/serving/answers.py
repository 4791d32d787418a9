"""The shapes of OpenAI's answers, as typed dictionaries: what is sent is what the OpenAPI page describes."""

from __future__ import annotations

import secrets
import time
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Reason = Literal["stop", "length"]
REASONS: dict[str, Reason] = {"end": "stop", "stop": "stop", "length": "length"}
"""Why a text ended, in OpenAI's words, by ours."""


class Usage(TypedDict):
    """Numbers of tokens. The token that ends a text counts as written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class OldLogprobs(TypedDict):
    """Log-probabilities in nats; the first token of a prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """A text."""

    index: int
    text: str
    logprobs: OldLogprobs | None
    finish_reason: Reason | None


class Head(TypedDict):
    """What every answer begins with."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class Completion(Head):
    """The answer of `/v1/completions`."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


class LikelyToken(TypedDict):
    """A token and its log-probability in nats."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(LikelyToken):
    """A token that was written, and the likeliest ones in its place."""

    top_logprobs: list[LikelyToken]


class ChatLogprobs(TypedDict):
    """The log-probabilities of an answer."""

    content: list[TokenLogprob]
    refusal: None


class ChatMessage(TypedDict):
    """What the assistant says."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(TypedDict):
    """An answer."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason


class ChatCompletion(Head):
    """The answer of `/v1/chat/completions`."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class ModelCard(TypedDict):
    """A run that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """The answer of `/v1/models`."""

    object: Literal["list"]
    data: list[ModelCard]


class Embedding(TypedDict):
    """A vector of length 1, or the base64 of its float32 numbers."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """Numbers of tokens."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(TypedDict):
    """The answer of `/v1/embeddings`."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Tokenized(TypedDict):
    """The answer of `/tokenize`."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class Detokenized(TypedDict):
    """The answer of `/detokenize`."""

    prompt: str


class TokenizerInfo(TypedDict):
    """The answer of `/tokenizer_info`: what evaluation programs ask for."""

    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    bos_token: str
    eos_token: str
    pad_token: str | None
    unk_token: str | None
    chat_template: str | None


class ErrorFacts(TypedDict):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Failure(TypedDict):
    """A refusal."""

    error: ErrorFacts


def head(kind: str, model: str, fingerprint: str) -> Head:
    """Return what an answer begins with; `kind` begins its id."""
    return {
        "id": f"{kind}-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": fingerprint,
    }


def usage(prompt: int, written: int) -> Usage:
    """Return numbers of tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def with_usage(chunk: dict[str, Any], *, wanted: bool) -> dict[str, Any]:
    """Return a chunk of a stream that will end with a usage: all others say that theirs is null."""
    return chunk | {"usage": None} if wanted else chunk
