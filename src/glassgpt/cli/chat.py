"""`glassgpt chat`: write in turns. A base model does not answer, it continues; this says so."""

from __future__ import annotations

import contextlib
from typing import Literal

from rich.console import Console

from glassgpt.cli.terminal import printable, say_if_not_faster
from glassgpt.errors import GenerationError


def chat(
    run: str = "latest",
    *,
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_p: float = 1.0,
    weights: Literal["as-saved", "int8"] = "as-saved",
    device: str = "auto",
) -> None:
    """Write with a run in turns: you begin a text, it continues. An empty line lets it go on.

    Args:
        run: A run's name or path, or latest.
        max_tokens: Most tokens of each turn.
        temperature: Higher is more surprising; 0 always takes the likeliest token.
        top_p: Keep the likeliest tokens that together reach this probability.
        weights: int8 rounds each row of a matrix to 8 bits: less memory and, on x86, time.
        device: auto, cpu, cuda, mps.
    """
    from glassgpt.device import pick_device
    from glassgpt.generation.text import GenerationConfig
    from glassgpt.runs.opening import open_run

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() a history

    config = GenerationConfig(temperature=temperature, top_p=top_p, max_tokens=max_tokens)
    opened = open_run(run, device=pick_device(device), weights=weights)
    say_if_not_faster(opened.model, weights)
    console = Console(highlight=False)
    console.print(
        f"[bold]{opened.directory.name}[/] is a base model: it does not answer, it continues what you write.\n"
        "[dim]An empty line lets it go on, /new begins a new text, /quit (or Ctrl-D) leaves.[/]"
    )
    text = ""
    while True:
        try:
            line = console.input("\n[bold green]you>[/] ")
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        match line.strip():
            case "/quit" | "/exit":
                return
            case "/new":
                text = ""
                continue
        try:
            # What was written before stays the context; the engine's window holds as much as fits.
            text = f"{text}{line}"
            console.print("[bold blue]run>[/] ", end="")
            console.print(line, end="", markup=False, style="dim")
            for event in opened.stream(text, config):
                text += event.text
                console.print(printable(event.text), end="", markup=False)
        except KeyboardInterrupt:
            console.print(" [dim](stopped)[/]", end="")
        except GenerationError as error:
            text = text.removesuffix(line)
            console.print(f"[red]{error}[/]", end="")
        console.print()
