"""What clients send: each field is honoured, or refused by its name.

A field that we do not have is accepted only with a value that asks for nothing (`frequency_penalty: 0`), because
clients send such values by default, or where it is only a label (`user`). Types are strict: "0.5" is not a number.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from glassgpt.errors import did_you_mean
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.serving.errors import Refused
from glassgpt.serving.fields import Bias, Ids, Inputs, Messages, Number, Prompts, Stops, Text, Whole, kind_of

MOST_LIKELIEST = 20
"""The largest number of likeliest tokens that an answer shows for a place."""
SEEDS = 2**64
LABELS: dict[str, tuple[type, ...]] = {
    "user": (str,),
    "metadata": (dict,),
    "safety_identifier": (str,),
    "prompt_cache_key": (str,),
}
"""Fields that only name something, and the types of their values."""
ASKS_FOR_NOTHING: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "suffix": ("",),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "moderation": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": ("in_memory",),
}
"""Fields of OpenAI's that are not done here, with the values that ask for nothing; null always does."""
IN_A_CHAT_ASKS_FOR_NOTHING: dict[str, tuple[Any, ...]] = {
    **{name: values for name, values in ASKS_FOR_NOTHING.items() if name not in ("best_of", "suffix")},
    "audio": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class Asked(BaseModel):
    """A body. Fields that are not declared are refused, unless they ask for nothing."""

    model_config = ConfigDict(extra="forbid", strict=True)
    NOTHING: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_done(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        kept = {}
        for name, value in body.items():
            if name in cls.model_fields:
                kept[name] = value
            elif name in LABELS or name in cls.NOTHING:
                _refuse_unless_nothing(name, value, cls.NOTHING)
            else:
                hint = did_you_mean(name[:60], cls.model_fields)
                raise Refused(
                    400,
                    f"{name[:60]} is not a field that this server knows.{hint} Leave it out.",
                    param=name[:60],
                )
        return kept


def _refuse_unless_nothing(name: str, value: Any, nothing: Mapping[str, tuple[Any, ...]]) -> None:
    if value is None:
        return
    if name in LABELS:
        if not isinstance(value, LABELS[name]):
            raise Refused(400, f"{name} cannot be {kind_of(value)}.", param=name)
    elif not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in nothing[name]):
        raise Refused(
            400, f"{name} is not supported: with this value it asks for what no run here can do.", param=name
        )


class StreamOptions(BaseModel):
    """How a stream is told."""

    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool | None = None
    include_obfuscation: Annotated[bool | None, Field(json_schema_extra={"enum": [False, None]})] = None


class Writing(Asked):
    """The fields that completions and chats share. null is the same as leaving a field out."""

    model: str | None = Field(
        None, description="The name of a run. May be left out where only one is served."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[Whole, Field(ge=1)] | None = None
    stop: Stops = ()
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    temperature: Annotated[Number, Field(ge=0)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[Whole, Field(ge=-1, lt=2**31)] | None = Field(
        None, description="0 and -1 keep all tokens."
    )
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0)] | None = None
    logit_bias: Bias = {}

    @model_validator(mode="after")
    def _stream_options_need_a_stream(self) -> Writing:
        if self.stream_options is not None:
            if not self.stream:
                raise Refused(
                    400, "stream_options has no effect without stream: true.", param="stream_options"
                )
            if self.stream_options.include_obfuscation:
                raise Refused(
                    400,
                    "stream_options.include_obfuscation is not supported.",
                    param="stream_options.include_obfuscation",
                )
        return self

    def sampling(self) -> SamplingConfig:
        """Return how tokens are chosen. Raises `GenerationError` for a value that cannot be used."""
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(0, self.top_k),
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
        }
        return _sampling(*((name, value) for name, value in given.items() if value is not None))

    @property
    def seed_from_0(self) -> int | None:
        """The seed, a negative one counted from 2**64 down."""
        return None if self.seed is None else self.seed % SEEDS

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


@functools.lru_cache(maxsize=256)
def _sampling(*given: tuple[str, Any]) -> SamplingConfig:
    """Return the same object for the same values: requests that choose alike are chosen for together."""
    return SamplingConfig(**dict(given))


class CompletionAsked(Writing):
    """The body of `/v1/completions`."""

    model_config = ConfigDict(json_schema_extra={"example": {"prompt": "Once upon a time", "max_tokens": 60}})

    NOTHING: ClassVar[Mapping[str, tuple[Any, ...]]] = ASKS_FOR_NOTHING

    prompt: Prompts = [""]
    max_tokens: Annotated[Whole, Field(ge=0)] | None = Field(None, description="16 where it is left out.")
    logprobs: Annotated[Whole, Field(ge=0, le=MOST_LIKELIEST)] | None = None
    echo: bool | None = None


class ChatAsked(Writing):
    """The body of `/v1/chat/completions`."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"messages": [{"role": "user", "content": "Hello"}]}}
    )

    NOTHING: ClassVar[Mapping[str, tuple[Any, ...]]] = IN_A_CHAT_ASKS_FOR_NOTHING

    messages: Messages
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="The same as max_tokens. Without either, what is left of the context."
    )
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=MOST_LIKELIEST)] | None = None
    tools: list[dict[str, Any]] | None = Field(None, description="Accepted, and answered with plain text.")

    @model_validator(mode="after")
    def _fits_together(self) -> ChatAsked:
        if self.top_logprobs is not None and not self.logprobs:
            raise Refused(400, "top_logprobs has no effect without logprobs: true.", param="top_logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and (
            self.max_tokens != self.max_completion_tokens
        ):
            raise Refused(
                400, "max_tokens and max_completion_tokens differ. Give one of the two.", param="max_tokens"
            )
        return self

    @property
    def most(self) -> int | None:
        """The most tokens that may be written."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class EmbeddingAsked(Asked):
    """The body of `/v1/embeddings`."""

    model_config = ConfigDict(json_schema_extra={"example": {"input": ["A cat sat.", "A dog ran."]}})

    model: str | None = None
    input: Inputs
    encoding_format: Annotated[str | None, Field(json_schema_extra={"enum": ["float", "base64", None]})] = (
        None
    )
    dimensions: Annotated[Whole, Field(ge=1)] | None = None


class TokenizeAsked(Asked):
    """The body of `/tokenize`: a text, or the messages of a chat."""

    model_config = ConfigDict(json_schema_extra={"example": {"prompt": "Once upon a time"}})

    model: str | None = None
    prompt: Text | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = Field(None, description="Whether the ids that begin a text come first.")
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> TokenizeAsked:
        if (self.prompt is None) == (self.messages is None):
            raise Refused(400, "Give either prompt or messages.", param="prompt")
        return self


class DetokenizeAsked(Asked):
    """The body of `/detokenize`."""

    model_config = ConfigDict(json_schema_extra={"example": {"tokens": [1, 2, 3]}})

    model: str | None = None
    tokens: Ids
