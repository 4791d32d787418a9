"""`glassgpt generate`: a run continues a text, streaming to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from glassgpt.cli.flow import Writer
from glassgpt.cli.given import Given, refuse_misplaced
from glassgpt.cli.terminal import Output, make_console, say_form, typed
from glassgpt.errors import GenerationError
from glassgpt.idle import OnlyWith, refuse_idle

if TYPE_CHECKING:
    from glassgpt.generation.text import TextEvent
    from glassgpt.runs.opening import Run

MOST = 10_000
"""The most continuations that are written together: all of them are kept in memory."""
ONLY_WITH = (OnlyWith(("temperature", "top_k", "top_p", "min_p", "seed"), "greedy", (False,)),)


def generate(
    run: str = "latest",
    prompt: str = "",
    *more: Annotated[str, Parameter(show=False)],
    max_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    greedy: Annotated[bool, Parameter(negative=())] = False,
    stop: tuple[str, ...] = (),
    seed: int | None = None,
    count: int = 1,
    cache: bool = True,
    weights: Literal["as-saved", "bfloat16", "int8", "auto"] = "as-saved",
    device: str = "auto",
    given: Given = (),
) -> None:
    """Let a run continue a text. The prompt is shown first, then what the model adds.

    Args:
        run: A run's name or path, or latest.
        prompt: The text to continue; empty begins a new document.
        more: Words of a prompt without quotes, which are refused.
        max_tokens: Maximum number of tokens to write.
        temperature: Higher is more random; 0 always takes the likeliest token.
        top_k: Keep only the k likeliest tokens; 0 keeps all.
        top_p: Keep the likeliest tokens that together reach this probability.
        min_p: Keep tokens whose probability is at least this share of the likeliest token's.
        repetition_penalty: Above 1, tokens that already occur become less likely.
        greedy: The same as --temperature 0.
        stop: Stop before the first of these strings.
        seed: The same seed writes the same text.
        count: Number of continuations. A single one streams; several are written together.
        cache: Keep the keys and values of earlier tokens. Without them the same is written, only slower.
        weights: int8 stores the weights in 8 bits, bfloat16 in 16: less memory, and a large model writes faster. auto
            takes what this machine writes fastest with; it is measured once.
        device: auto, cpu, cuda or mps.
    """
    # Before torch is imported: it takes seconds.
    refuse_misplaced(run, typed(prompt, "The prompt"), *more, most=1)
    from glassgpt.generation.text import GenerationConfig

    refuse_idle({"greedy": greedy}, given, ONLY_WITH)
    _refuse_count(count)
    config = GenerationConfig(
        temperature=0.0 if greedy else temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        max_tokens=max_tokens,
        stop=stop,
        seed=seed,
    )
    refuse_idle(config, given)
    opened = _opened(run, prompt, weights, device)
    _write(prompt, opened.stream(prompt, config, count=count, use_cache=cache, engine="auto"), count)


def _opened(
    name: str, prompt: str, weights: Literal["as-saved", "bfloat16", "int8", "auto"], device: str
) -> Run:
    """Open a run, and say what of the prompt it cannot see."""
    from glassgpt.device import pick_device
    from glassgpt.runs.opening import open_run

    opened = open_run(name, device=pick_device(device), weights=weights)
    say_form(opened.model, weights)
    _say([opened.unseen(prompt)], style=None)
    return opened


def _refuse_count(count: int) -> None:
    if not 1 <= count <= MOST:
        raise GenerationError(f"--count is {count:,}: it must be from 1 to {MOST:,}.")


def _write(prompt: str, events: Iterator[TextEvent], count: int) -> None:
    """Write one continuation as it comes, or several one after the other when all are done."""
    writer = Writer(Output(sys.stdout))
    notes: list[str] = []
    if count == 1:
        first = next(events)  # a prompt that cannot be used is refused before anything is shown
        writer.write(prompt + first.text)
        for event in events:
            writer.write(event.text)
            notes.append(event.note)
        writer.write("\n")
    else:
        texts = [prompt] * count
        for event in events:
            texts[event.index] += event.text
            notes.append(event.note)
        for number, text in enumerate(texts, start=1):
            writer.write(f"--- {number} ---\n{text.strip()}\n\n")
    _say(notes)


def _say(notes: Iterable[str | None], style: str | None = "dim") -> None:
    """Print each note about the text once."""
    console = make_console(stderr=True, lasting=True, soft_wrap=True)
    for note in dict.fromkeys(note for note in notes if note):
        console.print(note, style=style)
