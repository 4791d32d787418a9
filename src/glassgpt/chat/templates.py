"""Chat templates: from messages to the text that a model sees, with the assistant's parts marked as targets.

A template is written in Jinja, as Hugging Face stores it beside a tokenizer (`chat_template.jinja`), and rendered with
the same settings, so both make the same text. Only the template makes control tokens: what people and models wrote is
text, whatever it looks like (see `disguise`). Two templates are built in:

- `chatml` marks each turn by special tokens, `<|im_start|>role ... <|im_end|>`: the vocabulary grows by two.
- `alpaca` marks them by headings, `### Instruction:` and `### Response:`: no new token, and `<|endoftext|>` ends
  an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from glassgpt.chat.disguise import Controls, Disguise
from glassgpt.chat.messages import Message
from glassgpt.chat.rendering import Render, Worker, render_here
from glassgpt.errors import ConfigError
from glassgpt.tokenizers.controls import Piece
from glassgpt.tokenizers.fast import FastTokenizer

TemplateName = Literal["chatml", "alpaca"]

CHATML = """\
{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}
"""
ALPACA = """\
{% for message in messages %}
{% if message['role'] == 'system' %}
{{ message['content'] + '\\n\\n' }}
{% elif message['role'] == 'user' %}
{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}
{% else %}
{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '### Response:\\n' }}
{% endif %}
"""
# Jinja drops the line end after a statement (trim_blocks) but not after an expression. The templates above are laid
# out for people, and joined into one line for use.
TEMPLATES: dict[str, str] = {
    name: "".join(text.splitlines()) for name, text in (("chatml", CHATML), ("alpaca", ALPACA))
}
NEW_TOKENS: dict[str, tuple[str, ...]] = {"chatml": ("<|im_start|>", "<|im_end|>"), "alpaca": ()}


@dataclass(frozen=True)
class ChatTemplate:
    """A template of a vocabulary. `stop` is the special token that ends an answer; `end_of_text` its name.

    `special` holds the names of the vocabulary's special tokens. Such a name is a token only where the template itself
    wrote it. `name` begins the sentences about this template.
    """

    source: str
    stop: str
    end_of_text: str
    special: tuple[str, ...]
    name: str = "The chat template"

    def render(self, messages: Sequence[Message], *, answer: bool = False) -> str:
        """Return the text of messages; with `answer`, also the beginning of the assistant's next message."""
        return "".join(text for text, _ in self.pieces(messages, answer=answer))

    def pieces(self, messages: Sequence[Message], *, answer: bool = False) -> list[Piece]:
        """Return the text as pieces for `FastTokenizer.encode_pieces`: the template's control tokens, and plain text.

        Raises `ConfigError` when the template cannot write these messages, or turns parts of them into control tokens.
        """
        disguise = Disguise(messages, self.control)
        return disguise.lifted(self._written(disguise.messages, answer=answer))

    def parts(self, messages: Sequence[Message]) -> list[tuple[list[Piece], bool]]:
        """Return the pieces in parts, each with whether it is a target: an answer with its stop token.

        Raises `ConfigError` when the template changes earlier turns after later ones are added, or leaves an answer
        out.
        """
        disguise = Disguise(messages, self.control)
        parts: list[tuple[list[Piece], bool]] = []
        written = ""
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._written(disguise.messages[:index], answer=True)
            upto = self._written(disguise.messages[: index + 1])
            if not (before.startswith(written) and upto.startswith(before)):
                raise ConfigError(
                    f"{self.name} rewrites earlier turns when later ones follow, so an answer cannot be told "
                    "from its prompt. Fine-tune with --template chatml."
                )
            answer, stop, _ = upto[len(before) :].partition(self.stop)
            if message.content.strip() and not answer.strip():
                raise ConfigError(
                    f"{self.name} leaves the answer {message.content!r:.40} out, so nothing can be learned from it. "
                    "Fine-tune with --template chatml."
                )
            parts += [
                (disguise.lifted(before[len(written) :]), False),
                (disguise.lifted(answer + stop), message.is_learned),
            ]
            written = before + answer + stop
        return parts

    @cached_property
    def control(self) -> Controls:
        """The special tokens that the template may write, including the one that ends an answer."""
        return Controls.of((*self.special, self.stop))

    def _written(self, messages: Sequence[Message], *, answer: bool = False) -> str:
        """Return the rendered text of disguised messages, if no control token in it was made from them.

        A template can join or change what people wrote so that a control token results. Such a token disappears when
        the characters that begin and end control tokens are masked in the messages.
        """
        text = self._rendered(messages, answer)
        masked = self.control.masked(messages)
        if masked is not None and self.control.found(text) != self.control.found(
            self._rendered(masked, answer)
        ):
            raise ConfigError(
                f"{self.name} turns text that people wrote into control tokens. Fine-tune with --template chatml."
            )
        return text

    def _rendered(self, messages: Sequence[Message], answer: bool) -> str:
        return self._render(
            {
                "messages": [{"role": message.role, "content": message.content} for message in messages],
                "add_generation_prompt": answer,
                "eos_token": self.end_of_text,
                "bos_token": self.end_of_text,
            }
        )

    @cached_property
    def _render(self) -> Render:
        ours = self.source in TEMPLATES.values()
        return render_here(self.source) if ours else Worker(self.source, self.name)


def plain_text(pieces: Sequence[Piece]) -> str:
    """Return the text of pieces without the control tokens."""
    return "".join(text for text, special in pieces if not special)


def make_template(name: TemplateName, tokenizer: FastTokenizer) -> ChatTemplate:
    """Return a built-in template for a tokenizer that has its special tokens."""
    end = name_of(tokenizer, tokenizer.end_of_text)
    stop = NEW_TOKENS[name][-1] if NEW_TOKENS[name] else end
    return ChatTemplate(TEMPLATES[name], stop, end, tokenizer.special_names, f"The template {name}")


def name_of(tokenizer: FastTokenizer, id: int) -> str:
    """Return the spelling of a special token."""
    return tokenizer.decode([id], skip_special=False)


def id_of(tokenizer: FastTokenizer, special: str) -> int:
    """Return the id of a special token. Raises `ConfigError` when the vocabulary does not have it as one token."""
    ids = tokenizer.encode(special, allow_special=True)
    if len(ids) != 1:
        raise ConfigError(f"The tokenizer has no special token {special!r}, which the chat template uses.")
    return ids[0]
