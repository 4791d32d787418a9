"""Chatting with a fine-tuned run: history, stop tokens, a system prompt, and a limited context."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from glassgpt.chat.messages import Message
from glassgpt.chat.stored import read_chat_template
from glassgpt.chat.templates import ChatTemplate, id_of, name_of, plain_text
from glassgpt.errors import GenerationError
from glassgpt.generation.text import (
    GenerationConfig,
    TextEvent,
    Writer,
    events_of,
    never_written,
    requests_for,
)
from glassgpt.runs.opening import Run

KEPT_BYTES = 2**28
"""Memory for what the model computed for a conversation, so that only what is new has to be read."""


def template_of(run: Run) -> ChatTemplate | None:
    """Return the chat template that a run was fine-tuned with, or None when it was not trained to answer."""
    if not run.directory.chat_template.is_file():
        return None
    path = run.directory.chat_template
    end = name_of(run.tokenizer, run.tokenizer.end_of_text)
    stated = run.lineage.chat.stop if run.lineage.chat else []
    stops = [stop for stop in stated if stop] or [end]
    return ChatTemplate(
        read_chat_template(path), stops[0], end, run.tokenizer.special_names, f"The chat template {path}"
    )


@dataclass
class Chat:
    """A conversation with a run. Earlier turns that no longer fit into the context are left out, oldest first.

    `left_out` counts the messages that were left out for the newest answer.
    """

    run: Run
    template: ChatTemplate
    system: str | None = None
    history: list[Message] = field(default_factory=list)
    left_out: int = 0
    _writer: Writer | None = field(default=None, init=False, repr=False)
    """It keeps what the model computed for the conversation so far, so that only what is new has to be read."""

    def ask(self, text: str, config: GenerationConfig) -> Generator[TextEvent, None, None]:
        """Yield the answer as it is written; remember the message and the answer at its end.

        Raises `GenerationError` when the message alone leaves no room in the context.
        """
        asked = [*self.history, Message("user", text)]
        ids, kept = self._fit(asked, config.max_tokens)
        self.left_out = len(asked) - len(kept)
        answer, tokenizer = "", self.run.tokenizer
        if self._writer is None:
            self._writer = Writer(self.run.model, tokenizer, engine="auto", prefix_memory=KEPT_BYTES)
        (request,) = requests_for(
            tokenizer,
            [ids],
            config,
            exclude=never_written(tokenizer, documents=True),
            ends=[id_of(tokenizer, self.template.stop)],
        )
        number = self._writer.add(request, stop=config.stop)
        try:
            for event in events_of(self._writer):
                answer += event.text
                yield event
        finally:
            self._writer.cancel(number)  # nobody may wait for the rest
            self.history = [*kept, Message("assistant", answer.strip())]

    def _fit(self, asked: list[Message], room: int) -> tuple[list[int], list[Message]]:
        """Return the ids of as much of the conversation as fits, and its messages; the newest one is always kept."""
        context = self.run.model.config.context_length
        room = min(room, context // 2)
        first = [Message("system", self.system)] if self.system else []
        while True:
            pieces = self.template.pieces([*first, *asked], answer=True)
            unknown = self.run.tokenizer.unknown(plain_text(pieces))
            if unknown:
                raise GenerationError(
                    f"The message has text that is not in this model's vocabulary: {', '.join(map(repr, unknown[:8]))}."
                )
            ids = self.run.tokenizer.encode_pieces(pieces)
            if len(ids) + room <= context:
                return ids, asked
            if len(asked) == 1:
                raise GenerationError(
                    f"The message has {len(ids)} tokens with its template, and the model's context is {context}: "
                    "say it in fewer words."
                )
            asked = asked[2:]
