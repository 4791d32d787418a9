"""Chat templates: from messages to the text a model sees, and which of it is the assistant's to learn.

A template is Jinja, the language in which Hugging Face keeps them beside a tokenizer (`chat_template.jinja`), and
is rendered here with the same settings, so that both make the same text. Two are ready:

- `chatml` marks each turn by special tokens, `<|im_start|>role ... <|im_end|>`: the vocabulary grows by two.
- `alpaca` marks them by headings, `### Instruction:` and `### Response:`: no new token, and `<|endoftext|>` ends
  an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from glassgpt.errors import ConfigError
from glassgpt.finetuning.records import Message
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
# Jinja drops the line end after a statement (trim_blocks) but not after an expression: the templates above are
# laid out for people, and joined to one line for use.
TEMPLATES: dict[str, str] = {
    name: "".join(text.splitlines()) for name, text in (("chatml", CHATML), ("alpaca", ALPACA))
}
NEW_TOKENS: dict[str, tuple[str, ...]] = {"chatml": ("<|im_start|>", "<|im_end|>"), "alpaca": ()}


@dataclass(frozen=True)
class ChatTemplate:
    """A template of a vocabulary. `stop` is the special token that ends an answer; `end_of_text` its name."""

    source: str
    stop: str
    end_of_text: str

    def render(self, messages: Sequence[Message], *, answer: bool = False) -> str:
        """Return the text of messages; with `answer`, up to where the assistant begins the next one."""
        try:
            return self._compiled.render(
                messages=[{"role": message.role, "content": message.content} for message in messages],
                add_generation_prompt=answer,
                eos_token=self.end_of_text,
                bos_token=self.end_of_text,
            )
        except jinja2.TemplateError as error:
            raise ConfigError(f"The chat template cannot write these messages: {error}.") from error

    def parts(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """Return the text of messages in pieces, and of each whether it is the assistant's: answer and stop token.

        Raises `ConfigError` when the template does not write earlier turns the same way once more follow.
        """
        parts: list[tuple[str, bool]] = []
        written = ""
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self.render(messages[:index], answer=True)
            upto = self.render(messages[: index + 1])
            if not (before.startswith(written) and upto.startswith(before)):
                raise ConfigError(
                    "The chat template rewrites earlier turns when later ones follow, so an answer cannot be told "
                    "from its prompt. Use --template chatml or alpaca."
                )
            answer, stop, _ = upto[len(before) :].partition(self.stop)
            parts += [(before[len(written) :], False), (answer + stop, True)]
            written = before + answer + stop
        return parts

    @cached_property
    def _compiled(self) -> jinja2.Template:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        try:
            return environment.from_string(self.source)
        except jinja2.TemplateError as error:
            raise ConfigError(f"The chat template is not valid Jinja: {error}.") from error


def make_template(name: TemplateName, tokenizer: FastTokenizer) -> ChatTemplate:
    """Return a ready template for a tokenizer that has its special tokens."""
    end = name_of(tokenizer, tokenizer.end_of_text)
    return ChatTemplate(TEMPLATES[name], NEW_TOKENS[name][-1] if NEW_TOKENS[name] else end, end)


def name_of(tokenizer: FastTokenizer, id: int) -> str:
    """Return the spelling of a special token."""
    return tokenizer.decode([id], skip_special=False)


def id_of(tokenizer: FastTokenizer, special: str) -> int:
    """Return the id of a special token. Raises `ConfigError` when the vocabulary has it not as one token."""
    ids = tokenizer.encode(special, allow_special=True)
    if len(ids) != 1:
        raise ConfigError(f"The tokenizer has no special token {special!r}, which the chat template uses.")
    return ids[0]


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
