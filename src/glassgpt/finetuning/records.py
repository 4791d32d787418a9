"""Records for fine-tuning: conversations and preferences, recognised by the fields that they have.

    {"instruction", "input", "output"}                         Alpaca
    {"messages": [{"role", "content"}, ...]}                   OpenAI
    {"conversations": [{"from", "value"}, ...]}                ShareGPT
    {"prompt", "completion"}  {"question", "answer"}           pairs
    {"chosen", "rejected"} beside any prompt of the above      preferences

"system" and "history" (pairs of earlier turns) beside any of them come first, as in LLaMA-Factory. A content or an
answer may be a list of text parts or of messages. A turn with {"weight": 0} is read but never learned.

Files are read by `corpus/records.py`. Each record remembers its place, so that an error can name it. Records with an
empty part are left out and counted (`gathering`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from glassgpt.chat.messages import Message
from glassgpt.corpus.records import ANSWERED, TURNS, kind_of, shown_fields
from glassgpt.errors import CorpusError
from glassgpt.finetuning.gathering import NothingToLearn, Say, fields_of, gather, records_of

ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
WEIGHT_FIELDS = ("weight", "train", "loss")
"""The names that OpenAI, axolotl and ms-swift use for whether a turn is learned."""
PREFERENCE_FIELDS = ("chosen", "rejected")
OWN_FIELDS = (*(name for name, *_ in TURNS), *ANSWERED, *PREFERENCE_FIELDS)
USED = {*OWN_FIELDS, *chain.from_iterable(ANSWERED.values()), "system", "history", "input"}
USED_OF_MESSAGES = {*(name for _, *names in TURNS for name in names), *WEIGHT_FIELDS}
KNOWN = (
    "instruction and output, messages, conversations, prompt and completion, or question and answer (and for "
    "preferences chosen and rejected)"
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns, the last of which is the assistant's, and their place."""

    messages: tuple[Message, ...]
    source: str

    @property
    def content(self) -> str:
        """All turns in one text, which is the same for copies."""
        return _joined(self.messages)


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with two answers, of which one is preferred."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str

    @property
    def content(self) -> str:
        """Prompt and answers in one text, which is the same for copies."""
        return _joined((*self.prompt, Message("chosen", self.chosen), Message("rejected", self.rejected)))


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt alone, and its whole record, for rewards that need other fields."""

    messages: tuple[Message, ...]
    record: dict[str, Any]
    source: str

    @property
    def content(self) -> str:
        """All messages of the prompt in one text, which is the same for copies."""
        return _joined(self.messages)


def read_conversations(paths: Sequence[Path], say: Say = lambda _: None) -> list[Conversation]:
    """Return the conversations of some files; `say` receives a line about those that were left out.

    Raises `CorpusError` if a record is not one.
    """
    return gather(records_of(paths, OWN_FIELDS, say), _conversation, paths, say, unused)


def read_preferences(
    paths: Sequence[Path], say: Say = lambda _: None, *, keep_equal: bool = False
) -> list[Preference]:
    """Return the preferences of some files; `say` receives a line about those that were left out.

    With `keep_equal` two equal answers are a preference too, as in version 0.1.0. Raises `CorpusError` if a record is
    not a preference.
    """

    def make(record: Any, source: str) -> Preference:
        made = _preference(record, source)
        if made.chosen == made.rejected and not keep_equal:
            raise NothingToLearn("equal answers, chosen and rejected")
        return made

    return gather(records_of(paths, OWN_FIELDS, say), make, paths, say, unused)


def read_prompts(paths: Sequence[Path], say: Say = lambda _: None) -> list[Prompt]:
    """Return the prompts of some files; whatever follows the last question is for the reward."""
    return gather(records_of(paths, OWN_FIELDS, say), _prompt, paths, say)


def unused(record: dict[str, Any]) -> Iterator[str]:
    """Yield the names of a record's fields, and of its messages' fields, that are not empty but are not read."""
    yield from (name for name, value in record.items() if name not in USED and _holds_words(value))
    for field, *_ in TURNS:
        for item in record[field] if isinstance(record.get(field), list) else ():
            for name, value in item.items() if isinstance(item, dict) else ():
                if name not in USED_OF_MESSAGES and _holds_words(value):
                    yield f"{name} (of {field})"


def messages_of(record: dict[str, Any], source: str) -> tuple[Message, ...]:
    """Return the turns of a record in any of the known forms. Raises `CorpusError` when it has none of them."""
    for field, role, content in TURNS:
        if isinstance(record.get(field), list):
            return _begun(record, source, _turns(record[field], role, content, f"{source}, {field}"))
    messages: list[Message] = []
    field = next((field for field in ANSWERED if field in record), None)
    if field is None:
        raise _unknown(record, source, "a prompt")
    if field == "instruction":
        asked = _text(record, "instruction", source)
        further = _text(record, "input", source) if record.get("input") is not None else ""
        messages.append(Message("user", f"{asked}\n{further}" if further else asked))
    else:
        messages += _turns_or_text(record, field, "user", source)
    answer = next((name for name in ANSWERED[field] if name in record), None)
    if answer is not None:
        messages += _turns_or_text(record, answer, "assistant", source)
    return _begun(record, source, messages)


def _begun(record: dict[str, Any], source: str, turns: Sequence[Message]) -> tuple[Message, ...]:
    """Return the turns of a record, with those of LLaMA-Factory's fields `system` and `history` before them."""
    has_system = bool(turns) and turns[0].role == "system"
    messages = [turns[0]] if has_system else []
    if not has_system and record.get("system"):
        messages.append(Message("system", _text(record, "system", source)))
    history = record.get("history") or []
    pairs = isinstance(history, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in history)
    if not pairs or not all(isinstance(text, str) for pair in history for text in pair):
        raise CorpusError(
            f"{source}: the field 'history' holds {kind_of(history)}, but not pairs of a question and its answer, as "
            '[["Hello", "Hi."]] has. Correct it, or give it another name to leave it out.'
        )
    for asked, answer in history:
        messages += [Message("user", asked), Message("assistant", answer)]
    return (*messages, *turns[has_system:])


def _turns_or_text(record: dict[str, Any], field: str, role: str, source: str) -> Sequence[Message]:
    """Return the turns that a field holds, or its text as one turn; a missing answer is an empty one."""
    value = record[field]
    if isinstance(value, list):
        return _turns(value, "role", "content", f"{source}, {field}")
    if value is None and role == "assistant":
        return [Message(role, "")]
    return [Message(role, _text(record, field, source))]


def _conversation(record: Any, source: str) -> Conversation:
    messages = messages_of(fields_of(record, source), source)
    if not messages or (messages[-1].role != "assistant" and not _holds_turns(record)):
        raise _unknown(record, source, "an answer to learn")
    if messages[-1].role != "assistant":
        raise CorpusError(
            f"{source}: the last of its {len(messages)} messages is the {messages[-1].role}'s, but the model learns "
            f"the assistant's answer. Put the answer after it, or leave that message out."
        )
    _refuse_unasked(messages[:-1], source)
    if not messages[-1].content.strip():
        raise NothingToLearn("an empty answer")
    if not any(message.is_learned for message in messages if message.role == "assistant"):
        raise NothingToLearn("no answer to learn")
    return Conversation(messages, source)


def _prompt(record: Any, source: str) -> Prompt:
    messages = messages_of(fields_of(record, source), source)
    if messages and messages[-1].role == "assistant":
        messages = messages[:-1]
    if not messages:
        raise _unknown(record, source, "a prompt")
    return Prompt(messages, record, source)


def _preference(record: Any, source: str) -> Preference:
    if not all(field in fields_of(record, source) for field in PREFERENCE_FIELDS):
        raise _unknown(record, source, "a chosen and a rejected answer")
    chosen, rejected = record["chosen"], record["rejected"]
    if isinstance(chosen, list) and isinstance(rejected, list):  # whole conversations with the same beginning
        prompt, chosen, rejected = _two_endings(record, source)
    else:
        prompt = messages_of(record, source)
        if prompt and prompt[-1].role == "assistant":
            prompt = prompt[:-1]
        chosen, rejected = (
            "" if record[field] is None else _text(record, field, source) for field in PREFERENCE_FIELDS
        )
    _refuse_unasked(prompt, source)
    if not chosen.strip() or not rejected.strip():
        raise NothingToLearn("an empty answer")
    return Preference(prompt, chosen, rejected, source)


def _two_endings(record: dict[str, Any], source: str) -> tuple[tuple[Message, ...], str, str]:
    """Return the prompt and both answers of two lists of messages that differ in the last one."""
    ours, theirs = (
        _turns(record[field], "role", "content", f"{source}, {field}") for field in PREFERENCE_FIELDS
    )
    if not ours or not theirs or ours[:-1] != theirs[:-1]:
        raise CorpusError(f"{source}: chosen and rejected must be the same except for their last message.")
    if ours[-1].role != "assistant" or theirs[-1].role != "assistant":
        raise CorpusError(f"{source}: the last message of chosen and of rejected must be the assistant's.")
    prompt = ours[:-1] and _begun(record, source, ours[:-1])
    if not prompt and any(field in record for field in ANSWERED):  # the prompt is in a separate field
        prompt = messages_of(record, source)
        prompt = prompt[:-1] if prompt and prompt[-1].role == "assistant" else prompt
    return prompt, ours[-1].content, theirs[-1].content


def _joined(messages: Sequence[Message]) -> str:
    return json.dumps([(message.role, message.content.strip()) for message in messages])


def _turns(items: list[Any], role: str, content: str, source: str) -> tuple[Message, ...]:
    messages = []
    for number, item in enumerate(items, start=1):
        words = _joined_parts(item.get(content)) if isinstance(item, dict) else None
        if words is None or role not in item:
            raise CorpusError(
                f"{source}: each message has {role} and {content}, both texts, but message {number} is {item!r:.60}."
            )
        name = item[role]
        if not isinstance(name, str) or name not in ROLES:
            raise CorpusError(
                f"{source}: message {number} has the unknown role {name!r:.40}. Known roles: {', '.join(ROLES)}. "
                f"Leave the message out, or write it as one of these."
            )
        messages.append(Message(ROLES[name], words, _is_learned(item, f"{source}, message {number}")))
    return tuple(messages)


def _joined_parts(content: Any) -> str | None:
    """Return a content that is a text, or a list of parts of text (OpenAI's form); None for any other."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        return "".join(part["text"] for part in content)
    return content if isinstance(content, str) else None


def _is_learned(item: dict[str, Any], source: str) -> bool:
    given = {name: item[name] for name in WEIGHT_FIELDS if item.get(name) is not None}
    wrong = next((name for name, value in given.items() if value not in (0, 1)), None)
    if wrong is not None:
        raise CorpusError(
            f"{source}: {wrong} is {given[wrong]!r:.40}; it can be 1 (learned) or 0 (only read)."
        )
    return all(given.values())


def _holds_words(value: Any) -> bool:
    return bool(value) and isinstance(value, str | list | dict)


def _holds_turns(record: dict[str, Any]) -> bool:
    return any(isinstance(record.get(field), list) for field, _, _ in TURNS)


def _refuse_unasked(prompt: tuple[Message, ...], source: str) -> None:
    if not any(message.role == "user" for message in prompt):
        raise CorpusError(f"{source} has only an answer. Put the user's message that it answers before it.")


def _text(record: dict[str, Any], field: str, source: str) -> str:
    value = record[field]
    if not isinstance(value, str):
        raise CorpusError(f"{source}: the field {field!r} holds {kind_of(value)} instead of a text.")
    return value


def _unknown(record: dict[str, Any], source: str, wanted: str) -> CorpusError:
    wrong = next((f for f, _, _ in TURNS if f in record and not isinstance(record[f], list)), None)
    if wrong is not None and record[wrong]:
        return CorpusError(
            f"{source}: the field {wrong!r} holds {kind_of(record[wrong])} instead of a list of messages."
        )
    return CorpusError(
        f"{source} does not have {wanted}; its fields are: {shown_fields(record)}. A record has {KNOWN}."
    )
