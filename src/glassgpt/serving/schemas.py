"""What clients send: each field is honoured, or refused by its name.

A field that we do not have is accepted only with a value that asks for nothing (`frequency_penalty: 0`), because
clients send such values by default, or where it is only a label (`user`). Types are strict: "0.5" is not a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from glassgpt.chat.messages import Message
from glassgpt.errors import did_you_mean
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.serving.errors import ApiError

MOST_STOPS = 32
LONGEST_STOP = 1000
MOST_BIASES = 1024
MOST_LIKELIEST = 20
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


def _whole(value: Any) -> Any:
    """Take 16.0 for 16, as JSON does not tell them apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, Field(allow_inf_nan=False)]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ApiError(400, f"{where} must be a text, not {_kind(value)}.", param=where)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ApiError(
            400,
            f"{where} is not valid Unicode: it has half of a surrogate pair, such as \\ud83d.",
            param=where,
        )
    return value


def _kind(value: Any) -> str:
    """Return what JSON calls a value."""
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _prompts(value: Any, where: str) -> list[str | list[int]]:
    """Return the prompts of a text, of ids, or of an array of either."""
    if isinstance(value, str):
        return [_text(value, where)]
    if not isinstance(value, list) or not value:
        raise ApiError(
            400,
            f"{where} must be a text, an array of token ids, or an array of several of them that is not empty.",
            param=where,
        )
    if _is_id(value[0]):
        return [_ids(value, where)]
    return [
        _some_ids(one, f"{where}.{index}") if isinstance(one, list) else _text(one, f"{where}.{index}")
        for index, one in enumerate(value)
    ]


def _ids(value: Any, where: str) -> list[int]:
    if not isinstance(value, list) or not all(map(_is_id, value)):
        raise ApiError(400, f"{where} must hold token ids, which are whole numbers.", param=where)
    return value


def _some_ids(value: Any, where: str) -> list[int]:
    if not value:
        raise ApiError(400, f"{where} is an empty array. An empty text begins a new document.", param=where)
    return _ids(value, where)


def _stops(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    several = value if isinstance(value, list) else [value]
    if len(several) > MOST_STOPS:
        raise ApiError(
            400, f"stop has {len(several)} texts; at most {MOST_STOPS} are possible.", param="stop"
        )
    texts = [_text(one, "stop") for one in several]
    if any(len(text) > LONGEST_STOP for text in texts):
        raise ApiError(400, f"stop has a text of more than {LONGEST_STOP:,} characters.", param="stop")
    return tuple(text for text in texts if text)


def _bias(value: Any) -> dict[int, float]:
    """Return the bias of each id; JSON has ids as text."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ApiError(400, "logit_bias must be an object of token ids and numbers.", param="logit_bias")
    if len(value) > MOST_BIASES:
        raise ApiError(
            400,
            f"logit_bias has {len(value):,} tokens; at most {MOST_BIASES:,} are possible.",
            param="logit_bias",
        )
    found = {}
    for key, number in value.items():
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not (key.isascii() and key.isdigit() and len(key) < 12):
            raise ApiError(
                400, f"logit_bias has the key {key[:40]!r}, which is no token id.", param="logit_bias"
            )
        if not (is_number and -100 <= number <= 100):
            raise ApiError(400, f"logit_bias of {key} must be a number from -100 to 100.", param="logit_bias")
        found[int(key)] = float(number)
    return found


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise ApiError(400, "messages must be an array of at least one message.", param="messages")
    return [_message(one, f"messages.{index}") for index, one in enumerate(value)]


ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
EMPTY_IN_A_MESSAGE = (
    "name", "refusal", "audio", "annotations", "tool_calls", "function_call", "reasoning", "reasoning_content",
)  # fmt: skip
"""Fields of messages that clients send back empty."""


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise ApiError(
            400, f"{where} must be an object with role and content, not {_kind(value)}.", param=where
        )
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise ApiError(
            400,
            f"{where}.role must be one of {', '.join(ROLES)}: these models know nothing of others.",
            param=f"{where}.role",
        )
    for name in value:
        if name in ("role", "content") or (name in EMPTY_IN_A_MESSAGE and value[name] in (None, [], "")):
            continue
        raise ApiError(400, f"{where}.{name} is not supported. Leave it out.", param=f"{where}.{name}")
    return Message(ROLES[role], _content(value.get("content"), f"{where}.content", role))


def _content(value: Any, where: str, role: str) -> str:
    """Return the text of a message: one text, or parts of type text, which are joined by line ends."""
    if value is None and role == "assistant":
        return ""
    if not isinstance(value, list):
        return _text(value, where)
    texts = []
    for index, part in enumerate(value):
        place = f"{where}.{index}"
        if not isinstance(part, dict) or part.get("type") != "text":
            raise ApiError(
                400, f"{place} must be a part of type text: nothing else can be read.", param=place
            )
        if more := [name for name in part if name not in ("type", "text")]:
            raise ApiError(
                400, f"{place}.{more[0]} is not supported. Leave it out.", param=f"{place}.{more[0]}"
            )
        texts.append(_text(part.get("text"), f"{place}.text"))
    return "\n".join(texts)


_IDS_SCHEMA = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_PROMPT_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        _IDS_SCHEMA,
        {"type": "array", "items": _IDS_SCHEMA, "minItems": 1},
    ]
}
_TEXT_PART = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {"type": {"enum": ["text"]}, "text": {"type": "string"}},
    "additionalProperties": False,
}
_MESSAGES_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": list(ROLES)},
            "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": _TEXT_PART}]},
        },
        "additionalProperties": False,
    },
}
Prompts = Annotated[
    list[str | list[int]],
    PlainValidator(lambda value: _prompts("" if value is None else value, "prompt")),
    WithJsonSchema(_PROMPT_SCHEMA),
]
Inputs = Annotated[
    list[str | list[int]],
    PlainValidator(lambda value: _prompts(value, "input")),
    WithJsonSchema(_PROMPT_SCHEMA),
]
Text = Annotated[
    str, PlainValidator(lambda value: _text(value, "prompt")), WithJsonSchema({"type": "string"})
]
Messages = Annotated[list[Message], PlainValidator(_messages), WithJsonSchema(_MESSAGES_SCHEMA)]
Stops = Annotated[
    tuple[str, ...],
    PlainValidator(_stops),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": LONGEST_STOP},
                {
                    "type": "array",
                    "items": {"type": "string", "maxLength": LONGEST_STOP},
                    "maxItems": MOST_STOPS,
                },
                {"type": "null"},
            ]
        }
    ),
]
Bias = Annotated[
    dict[int, float],
    PlainValidator(_bias),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]{1,11}$"},
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
            "maxProperties": MOST_BIASES,
        }
    ),
]


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
                raise ApiError(
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
            raise ApiError(400, f"{name} cannot be {_kind(value)}.", param=name)
    elif not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in nothing[name]):
        raise ApiError(
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
                raise ApiError(
                    400, "stream_options has no effect without stream: true.", param="stream_options"
                )
            if self.stream_options.include_obfuscation:
                raise ApiError(
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
        return SamplingConfig(**{name: value for name, value in given.items() if value is not None})

    @property
    def seed_from_0(self) -> int | None:
        """The seed, a negative one counted from 2**64 down."""
        return None if self.seed is None else self.seed % SEEDS

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


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
            raise ApiError(400, "top_logprobs has no effect without logprobs: true.", param="top_logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and (
            self.max_tokens != self.max_completion_tokens
        ):
            raise ApiError(
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
            raise ApiError(400, "Give either prompt or messages.", param="prompt")
        return self


class DetokenizeAsked(Asked):
    """The body of `/detokenize`."""

    model_config = ConfigDict(json_schema_extra={"example": {"tokens": [1, 2, 3]}})

    model: str | None = None
    tokens: Annotated[
        list[int],
        PlainValidator(lambda value: _ids(value, "tokens")),
        WithJsonSchema({**_IDS_SCHEMA, "minItems": 0}),
    ]
