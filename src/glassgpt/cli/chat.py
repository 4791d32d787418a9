"""`glassgpt chat`: talk with a run that was taught to answer.

A base model only continues text, and this command says so. A line that begins with a slash is a command and never goes
to the model; `//` sends a slash.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from glassgpt.cli.given import Given, refuse_misplaced
from glassgpt.cli.terminal import Output, make_console, printable, say_form, shown, typed
from glassgpt.commands import command
from glassgpt.errors import GenerationError, GlassGPTError
from glassgpt.idle import refuse_idle

if TYPE_CHECKING:
    from rich.console import Console

    from glassgpt.cli.turns import Partner, Turn
    from glassgpt.generation.text import GenerationConfig
    from glassgpt.runs.opening import Run

RUN = "run> "
YOU = "you>"


def chat(
    run: str = "latest",
    *more: Annotated[str, Parameter(show=False)],
    system: str | None = None,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    weights: Literal["as-saved", "bfloat16", "int8", "auto"] = "as-saved",
    device: str = "auto",
    given: Given = (),
) -> None:
    """Talk with a run that was taught to answer. A base model continues what you write instead.

    Type /help in the conversation for what else can be typed there.

    Args:
        run: A run's name or path, or latest.
        more: Words after the run, which are refused.
        system: The system prompt, which comes before the conversation; only for a run that was taught to answer.
        max_tokens: Maximum number of tokens in each turn.
        temperature: Higher is more random; 0 always takes the likeliest token.
        top_k: Keep only the k likeliest tokens; 0 keeps all.
        top_p: Keep the likeliest tokens that together reach this probability.
        seed: The same seed and the same lines give the same conversation.
        weights: int8 stores the weights in 8 bits, bfloat16 in 16: less memory, and a large model writes faster. auto
            takes what this machine writes fastest with; it is measured once.
        device: auto, cpu, cuda or mps.
    """
    refuse_misplaced(run, *more, most=0)  # before torch is imported: it takes seconds
    from glassgpt.device import pick_device
    from glassgpt.generation.text import GenerationConfig
    from glassgpt.runs.opening import open_run

    config = GenerationConfig(
        temperature=temperature, top_k=top_k, top_p=top_p, max_tokens=max_tokens, seed=seed
    )
    refuse_idle(config, given)
    opened = open_run(run, device=pick_device(device), weights=weights)
    say_form(opened.model, weights)
    console = make_console()
    _converse(_partner(opened, config, system, console), console)


def _partner(run: Run, config: GenerationConfig, system: str | None, console: Console) -> Partner:
    """Return the run as one that answers or one that continues, after a line that says which it is."""
    from glassgpt.chat.conversation import Chat, template_of
    from glassgpt.cli.turns import Answering, Continuing

    template = template_of(run)
    if template is not None:
        console.print(f"Talking with [bold]{shown(run.directory.name)}[/].")
        console.print("[dim]/help lists what else you can type; /exit (or Ctrl-D) leaves.[/]")
        return Answering(Chat(run, template, system), config)
    teach = command("finetune", "sft", run.directory.handle, "DATA")
    if system is not None:
        raise GenerationError(
            f"{run.directory.name} is a base model and has no system prompt. Teach it to answer first:  {teach}"
        )
    console.print(
        f"[bold]{shown(run.directory.name)}[/] is a base model: it does not answer, it continues what you write."
    )
    console.print(f"[dim]Teach it to answer:  {shown(teach)}[/]", soft_wrap=True)
    console.print(
        "[dim]An empty line lets it continue. /help lists what else you can type; /exit (or Ctrl-D) leaves.[/]"
    )
    return Continuing(run, config)


def _converse(partner: Partner, console: Console) -> None:
    from glassgpt.cli.turns import Commands

    commands = Commands(partner, lambda text: console.print(shown(text, lines=True), style="dim"))
    for line in _lines(console):
        try:
            if line.lstrip().startswith("/") and not line.lstrip().startswith("//"):
                turn = commands.obey(line.strip())
            else:
                line = line.replace("//", "/", 1) if line.lstrip().startswith("//") else line
                turn = partner.say(line)
            if commands.left:
                return
            if turn is not None:
                _print(console, turn)
                for note in partner.notes():
                    console.print(f"[dim]({shown(note)})[/]")
        except GlassGPTError as error:
            console.print(f"[red]{shown(error)}[/]")  # the conversation continues


def _lines(console: Console) -> Iterator[str]:
    """Yield the lines that the user types, until the user leaves."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() a history
    while True:
        try:
            line = _ask(console)
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        except UnicodeDecodeError:
            line = "\udcff"  # as bytes that are not UTF-8 are kept elsewhere
        try:
            yield typed(line, "What was typed")
        except GlassGPTError as error:
            if not sys.stdin.isatty():
                raise
            console.print(f"[red]{shown(error)}[/]")


def _ask(console: Console) -> str:
    """Return a line. The library of line editing must know the prompt, or it erases it."""
    if not ("readline" in sys.modules and sys.stdin.isatty() and sys.stdout.isatty()):
        return console.input(f"\n[bold green]{YOU}[/] ")
    console.print()
    colour = console.color_system is not None
    return input(f"\1\x1b[1;32m\2{YOU}\1\x1b[0m\2 " if colour else f"{YOU} ")


def _print(console: Console, turn: Turn) -> None:
    """Print a turn as it is written. Raises `GenerationError` when it cannot begin."""
    from glassgpt.cli.flow import Writer

    writer = Writer(Output(sys.stdout), column=len(RUN))
    with contextlib.closing(turn.events) as events:
        try:
            first = next(events, None)
            console.print(f"[bold blue]{RUN.strip()}[/] ", end="")
            writer.write(printable(turn.before), dim=console.color_system is not None)
            if first is not None:
                writer.write(printable(first.text))
            for event in events:
                writer.write(printable(event.text))
        except KeyboardInterrupt:
            console.print(" [dim](stopped)[/]", end="")
    console.print()
