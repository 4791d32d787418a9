"""From what a client sends to the ids that the model reads.

A prompt is the beginning of a text, as in training: the ids that began every text there (`<|endoftext|>` for a model
of documents) are put before it, whether it came as text or as ids, unless it begins with them already. They are not
part of the prompt: they are neither counted nor echoed. So log-probabilities over HTTP are those of `glassgpt eval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from glassgpt.chat.messages import Message
from glassgpt.chat.templates import ChatTemplate, plain_text
from glassgpt.errors import ConfigError, GenerationError
from glassgpt.runs.opening import Run
from glassgpt.serving.errors import Refused


@dataclass(frozen=True, slots=True)
class Prompt:
    """The ids that the model reads, how many of them are not the prompt's own, and the prompt as text."""

    ids: list[int]
    before: int
    text: str

    @property
    def own(self) -> list[int]:
        """The ids of the prompt itself."""
        return self.ids[self.before :]


def prompt_of(run: Run, given: str | Sequence[int], where: str = "prompt", *, told: bool = False) -> Prompt:
    """Return a prompt given as text or ids.

    With `told`, its log-probabilities are wanted. Then its last token is only predicted, so that it may have one more
    than the context; and one that leaves no room for what begins every text is a window from within a text. Raises
    `Refused` for ids or text that are not in the vocabulary, and for one that is longer than the context.
    """
    before = run.before
    if isinstance(given, str):
        begin = run.tokenizer.decode(before, skip_special=False)
        try:
            ids = run.prompt_ids(given.removeprefix(begin))
        except GenerationError as error:
            raise Refused(400, str(error), param=where) from error
        own = len(ids) if begin and given.startswith(begin) else len(run.tokenizer.encode(given))
        prompt = Prompt(ids, len(ids) - own, given)
    else:
        refuse_unknown_ids(run, given, where)
        hidden = [] if list(given[: len(before)]) == before else before
        prompt = Prompt([*hidden, *given], len(hidden), "")
    if told and len(prompt.ids) > run.model.config.context_length + 1:
        prompt = replace(prompt, ids=prompt.own, before=0)
    refuse_too_long(run, prompt, where, room=-1 if told else 0)
    if not isinstance(given, str):  # after its length is known
        prompt = replace(prompt, text=run.tokenizer.decode(given, skip_special=False))
    return prompt


def chat_prompt(
    run: Run, template: ChatTemplate, messages: Sequence[Message], where: str = "messages"
) -> Prompt:
    """Return the prompt of a conversation, up to where the assistant's answer begins. Raises `Refused`."""
    pieces = _pieces(template, messages)
    text = plain_text(pieces)
    if unknown := run.tokenizer.unknown(text):
        shown = ", ".join(map(repr, unknown[:8]))
        raise Refused(
            400, f"The messages have text that is not in this model's vocabulary: {shown}.", param=where
        )
    prompt = Prompt(run.tokenizer.encode_pieces(pieces), 0, "".join(piece for piece, _ in pieces))
    refuse_too_long(run, prompt, where, room=1)
    return prompt


def _pieces(template: ChatTemplate, messages: Sequence[Message]) -> list[tuple[str, bool]]:
    """Return what a template makes of messages.

    A template that wants roles to alternate gets consecutive messages of a role as one, and one without a system
    role gets the system's words before those of the user.
    """
    system = [message.content.strip() for message in messages if message.role == "system"]
    joined = _joined(messages)
    for tried in (list(messages), joined, _joined(_without_system(joined))):
        try:
            pieces = template.pieces(tried, answer=True)
        except ConfigError as error:
            failure = error
            continue
        text = "".join(piece for piece, _ in pieces)
        if all(words in text for words in system) or not any(message.role == "system" for message in tried):
            return pieces
        failure = ConfigError(f"{template.name} leaves out what the system says.")
    raise Refused(400, f"These messages cannot be written: {failure}", param="messages")


def _joined(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with consecutive ones of a role as one."""
    found: list[Message] = []
    for message in messages:
        if found and found[-1].role == message.role:
            found[-1] = replace(found[-1], content=f"{found[-1].content}\n\n{message.content}")
        else:
            found.append(message)
    return found


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with each of the system as a user's."""
    return [replace(message, role="user") if message.role == "system" else message for message in messages]


def refuse_unknown_ids(run: Run, ids: Sequence[int], where: str) -> None:
    """Raise `Refused` for an id that the model does not have."""
    size = run.tokenizer.vocab_size
    wrong = next((id for id in ids if not 0 <= id < size), None)
    if wrong is not None:
        raise Refused(400, f"{where} has the token id {wrong}; this model has 0 to {size - 1}.", param=where)


def refuse_too_long(run: Run, prompt: Prompt, where: str, *, room: int = 0) -> None:
    """Raise `Refused` for a prompt that leaves less than `room` tokens of the context."""
    context = run.model.config.context_length
    if len(prompt.ids) + room > context:
        begun = f" and {prompt.before} that begin every text" if prompt.before else ""
        answer = ", and the answer needs at least one" if room > 0 else ""
        raise Refused(
            400,
            f"{where} has {len(prompt.own):,} tokens{begun}, and this model's context is {context:,} tokens{answer}. "
            "Send a shorter one.",
            param=where,
            code="context_length_exceeded",
        )
