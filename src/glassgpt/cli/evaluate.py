"""`glassgpt evaluate`: the earlier name of `glassgpt eval RUN TEXT`, kept for one release and not listed."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from glassgpt.cli.given import Given
from glassgpt.cli.loss import ONLY_WITH, Asked, show_loss, show_stories
from glassgpt.cli.options import TextField
from glassgpt.cli.terminal import make_console, say_form
from glassgpt.idle import refuse_idle


def evaluate(
    run: str = "latest",
    *sources: str,
    moved: Annotated[tuple[str, ...], Parameter(name="--corpus.sources")] = (),
    split: str = "validation",
    stories: int = 0,
    weights: Literal["as-saved", "bfloat16", "int8", "auto"] = "as-saved",
    device: str = "auto",
    text_field: TextField = None,
    given: Given = (),
) -> None:
    """Measure a run's loss on all of its validation text, or on other text. Use `glassgpt eval` instead.

    Args:
        run: A run's name or path, or latest.
        sources: Text to measure on instead of the run's own; all of it is used.
        moved: Where the run's own text is now, if it was moved; it must be the same.
        split: Which split of the run's own text: train, validation or test.
        stories: Number of stories to write and to score with the built-in grammar.
        weights: int8 stores the weights in 8 bits, bfloat16 in 16: less memory, and a large model writes faster. auto
            takes what this machine writes fastest with; it is measured once.
        device: auto, cpu, cuda or mps.
        text_field: The field of .jsonl, .json, .csv and .parquet records that holds the text.
    """
    from glassgpt.runs.directory import find_run

    find_run(run)  # before torch is imported: it takes seconds
    from glassgpt.device import pick_device, set_threads
    from glassgpt.runs.opening import open_run

    refuse_idle({"SOURCES": sources}, given, ONLY_WITH)
    asked = Asked(sources, moved, split, text_field, stories, given)
    asked.refuse_wrong()
    set_threads(0)
    opened = open_run(run, device=pick_device(device), weights=weights)
    say_form(opened.model, weights)
    show_loss(opened, asked.measure(opened))
    score = asked.write_stories(opened)
    if score:
        show_stories(score)
    # After the figures, so that an error is still one paragraph alone.
    make_console(stderr=True, soft_wrap=True).print(
        "`glassgpt eval` is the command for this now: it takes the same options.", style="dim"
    )
