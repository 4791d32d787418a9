"""Renders chat templates from elsewhere in a separate process that can be stopped and has limited memory.

A template is a program by the publisher of the model. Jinja's sandbox keeps it from files and from Python, but not
from running forever or filling the memory, and a thread cannot be stopped. So this file runs as a process (see
`rendering.Worker`), with one line of JSON for each question and each answer. It imports nothing from GlassGPT.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from collections.abc import Sequence
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1 << 30
"""Bytes of address space that a template may use, where the system can limit them."""
MOST_REPEATED = 10_000_000
MOST_EXPONENT = 1_000
CHARACTERS = 1_000_000
"""A template may write at most twenty times the characters of the messages, plus this number."""


class Generation(Extension):
    """`{% generation %}` marks the assistant's words for other programs; here only its content is rendered."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the statements inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Environment(ImmutableSandboxedEnvironment):
    """Jinja as Hugging Face sets it up for chat templates, but without products of enormous size."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        extensions = [Generation, "jinja2.ext.loopcontrols"]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _refuse
        self.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply or raise to a power, unless the result would be enormous."""
        if operator == "**" and not abs(right) <= MOST_EXPONENT:
            raise jinja2.TemplateError(f"it raises a number to the power of {right}")
        for many, times in ((left, right), (right, left)):
            if operator == "*" and isinstance(many, Sequence) and len(many) * times > MOST_REPEATED:
                raise jinja2.TemplateError(f"it repeats a text {times} times")
        return super().call_binop(context, operator, left, right)


def render(template: jinja2.Template, values: dict[str, Any]) -> str:
    """Return the rendered text. Raises `TemplateError` when it is far longer than the messages."""
    said = sum(len(message["content"]) for message in values["messages"])
    most, written, pieces = CHARACTERS + 20 * said, 0, []
    for piece in template.generate(**values):
        pieces.append(piece)
        written += len(piece)
        if written > most:
            raise jinja2.TemplateError(f"it writes more than {most:,} characters for messages of {said:,}")
    return "".join(pieces)


def explain(error: BaseException) -> str:
    """Return the message of an exception, shortened, on one line."""
    if isinstance(error, MemoryError):
        return "it needs more memory than a template may have"
    if isinstance(error, RecursionError):
        return "it calls itself endlessly"
    said = " ".join(str(error).split())[:300].rstrip(".")
    return said if isinstance(error, jinja2.TemplateError) and said else f"{type(error).__name__}: {said}"


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as Hugging Face's filter does, without escaping HTML characters."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: Any) -> None:
    raise jinja2.TemplateError(str(message))


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # Windows has no such limit, macOS keeps none
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """Read a template's source, then answer each line of values with a line that holds its text or its error."""
    _limit_memory()
    template, trouble = None, ""
    try:
        template = Environment().from_string(json.loads(sys.stdin.readline()))
    except Exception as error:
        trouble = f"is not valid Jinja: {explain(error)}"
    for line in sys.stdin:
        answer = {"error": trouble}
        if template is not None:
            try:
                answer = {"text": render(template, json.loads(line))}
            except Exception as error:
                answer = {"error": f"cannot write these messages: {explain(error)}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
