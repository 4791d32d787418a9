"""`glassgpt chat`: talk with a run that was taught to answer.

A base model only continues text, and this command says so.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from glassgpt.cli.given import Given, refuse_misplaced
from glassgpt.cli.terminal import make_console, printable, say_if_not_faster, shown, typed
from glassgpt.commands import command
from glassgpt.errors import GenerationError, GlassGPTError
from glassgpt.idle import refuse_idle

if TYPE_CHECKING:
    from rich.console import Console

    from glassgpt.generation.text import GenerationConfig, TextEvent
    from glassgpt.runs.opening import Run


def chat(
    run: str = "latest",
    *more: Annotated[str, Parameter(show=False)],
    system: str | None = None,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_p: float = 1.0,
    weights: Literal["as-saved", "int8"] = "as-saved",
    device: str = "auto",
    given: Given = (),
) -> None:
    """Talk with a run that was taught to answer. A base model continues what you write instead.

    Args:
        run: A run's name or path, or latest.
        more: Words after the run, which are refused.
        system: The system prompt, which comes before the conversation; only for a run that was taught to answer.
        max_tokens: Maximum number of tokens in each turn.
        temperature: Higher is more random; 0 always takes the likeliest token.
        top_p: Keep the likeliest tokens that together reach this probability.
        weights: int8 rounds each row of a matrix to 8 bits: less memory and, on x86, less time.
        device: auto, cpu, cuda or mps.
    """
    from glassgpt.chat.conversation import template_of
    from glassgpt.device import pick_device
    from glassgpt.generation.text import GenerationConfig
    from glassgpt.runs.opening import open_run

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() a history

    config = GenerationConfig(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    refuse_idle(config, given)
    refuse_misplaced(run, *more, most=0)
    opened = open_run(run, device=pick_device(device), weights=weights)
    say_if_not_faster(opened.model, weights)
    console = make_console()
    template = template_of(opened)
    if template is None:
        if system is not None:
            raise GenerationError(
                f"{opened.directory.name} is a base model and has no system prompt. Teach it to answer first:  "
                + command("finetune", "sft", opened.directory.handle, "DATA")
            )
        _continue(opened, config, console)
    else:
        from glassgpt.chat.conversation import Chat

        _talk(Chat(opened, template, system), config, console)


def _talk(chat, config: GenerationConfig, console: Console) -> None:
    console.print(
        f"Talking with [bold]{shown(chat.run.directory.name)}[/].\n"
        "[dim]/new begins a new conversation, /quit (or Ctrl-D) leaves.[/]"
    )
    for line in _lines(console):
        if line.strip() == "/new":
            chat.history = []
        elif line.strip():
            _print(console, chat.ask(line, config))
            if chat.left_out:
                console.print(
                    f"[dim](The first {chat.left_out} messages of the conversation no longer fit in the context and "
                    f"were left out.)[/]"
                )


def _continue(run: Run, config: GenerationConfig, console: Console) -> None:
    console.print(
        f"[bold]{shown(run.directory.name)}[/] is a base model: it does not answer, it continues what you write.\n"
        f"[dim]Teach it to answer:  {shown(command('finetune', 'sft', run.directory.handle, 'DATA'))}\n"
        "An empty line lets it continue, /new begins a new text, /quit (or Ctrl-D) leaves.[/]"
    )
    text = ""
    for line in _lines(console):
        if line.strip() == "/new":
            text = ""
            continue
        # What was written before stays the context; the engine's window holds as much as fits.
        written = _print(console, run.stream(text + line, config), before=line)
        unseen = run.unseen(text + line) if written is not None else None
        if unseen:
            console.print(f"[dim]({shown(unseen)})[/]")
        text = text if written is None else f"{text}{line}{written}"


def _lines(console: Console) -> Iterator[str]:
    """Yield the lines that the user types, until the user leaves."""
    while True:
        try:
            line = console.input("\n[bold green]you>[/] ")
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        except UnicodeDecodeError:
            line = "\udcff"  # as bytes that are not UTF-8 are kept elsewhere
        if line.strip() in ("/quit", "/exit"):
            return
        try:
            yield typed(line, "What was typed")
        except GlassGPTError as error:
            if not sys.stdin.isatty():
                raise
            console.print(f"[red]{shown(error)}[/]")  # the conversation continues


def _print(console: Console, events: Iterable[TextEvent], before: str = "") -> str | None:
    """Print a turn as it is written and return it; None when it could not begin."""
    written = ""
    try:
        console.print("[bold blue]run>[/] ", end="")
        console.print(before, end="", markup=False, style="dim")
        for event in events:
            written += event.text
            console.print(printable(event.text), end="", markup=False)
    except KeyboardInterrupt:
        console.print(" [dim](stopped)[/]", end="")
    except GenerationError as error:
        console.print(f"[red]{shown(error)}[/]")
        return None
    console.print()
    return written
