"""The parts of what clients send that have several forms, each checked by hand, so that a refusal names its place.

Each is a type for `schemas`: a function that checks a value of JSON, and how OpenAPI describes it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from glassgpt.chat.messages import Message
from glassgpt.serving.errors import Refused

MOST_STOPS = 32
LONGEST_STOP = 1000
MOST_BIASES = 1024


def _whole(value: Any) -> Any:
    """Take 16.0 for 16, as JSON does not tell them apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, Field(allow_inf_nan=False)]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Refused(400, f"{where} must be a text, not {kind_of(value)}.", param=where)
    try:
        value.encode()
    except UnicodeEncodeError:
        message = f"{where} is not valid Unicode: it has half of a surrogate pair, such as \\ud83d."
        raise Refused(400, message, param=where) from None
    return value


def kind_of(value: Any) -> str:
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
        raise Refused(
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
        raise Refused(400, f"{where} must hold token ids, which are whole numbers.", param=where)
    return value


def _some_ids(value: Any, where: str) -> list[int]:
    if not value:
        raise Refused(400, f"{where} is an empty array. An empty text begins a new document.", param=where)
    return _ids(value, where)


def _stops(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    several = value if isinstance(value, list) else [value]
    if len(several) > MOST_STOPS:
        raise Refused(400, f"stop has {len(several)} texts; at most {MOST_STOPS} are possible.", param="stop")
    texts = [_text(one, "stop") for one in several]
    if any(len(text) > LONGEST_STOP for text in texts):
        raise Refused(400, f"stop has a text of more than {LONGEST_STOP:,} characters.", param="stop")
    return tuple(text for text in texts if text)


def _bias(value: Any) -> dict[int, float]:
    """Return the bias of each id; JSON has ids as text."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(400, "logit_bias must be an object of token ids and numbers.", param="logit_bias")
    if len(value) > MOST_BIASES:
        raise Refused(
            400,
            f"logit_bias has {len(value):,} tokens; at most {MOST_BIASES:,} are possible.",
            param="logit_bias",
        )
    found = {}
    for key, number in value.items():
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not (key.isascii() and key.isdigit() and len(key) < 12):
            raise Refused(
                400, f"logit_bias has the key {key[:40]!r}, which is no token id.", param="logit_bias"
            )
        if not (is_number and -100 <= number <= 100):
            raise Refused(400, f"logit_bias of {key} must be a number from -100 to 100.", param="logit_bias")
        found[int(key)] = float(number)
    return found


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise Refused(400, "messages must be an array of at least one message.", param="messages")
    return [_message(one, f"messages.{index}") for index, one in enumerate(value)]


ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
EMPTY_IN_A_MESSAGE = (
    "name", "refusal", "audio", "annotations", "tool_calls", "function_call", "reasoning", "reasoning_content",
)  # fmt: skip
"""Fields of messages that clients send back empty."""


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise Refused(
            400, f"{where} must be an object with role and content, not {kind_of(value)}.", param=where
        )
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise Refused(
            400,
            f"{where}.role must be one of {', '.join(ROLES)}: these models know nothing of others.",
            param=f"{where}.role",
        )
    for name in value:
        if name in ("role", "content") or (name in EMPTY_IN_A_MESSAGE and value[name] in (None, [], "")):
            continue
        raise Refused(400, f"{where}.{name} is not supported. Leave it out.", param=f"{where}.{name}")
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
            raise Refused(400, f"{place} must be a part of type text: nothing else can be read.", param=place)
        if more := [name for name in part if name not in ("type", "text")]:
            raise Refused(
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
Ids = Annotated[
    list[int],
    PlainValidator(lambda value: _ids(value, "tokens")),
    WithJsonSchema({**_IDS_SCHEMA, "minItems": 0}),
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
