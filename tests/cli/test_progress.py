"""What the terminal shows of a training, event by event, at several widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from glassgpt.cli.progress import TerminalProgress
from glassgpt.training.events import (
    Evaluated,
    Event,
    Noted,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)

STARTED = TrainingStarted(0, 300, 1234567, 4096, 600.0, "cpu", "float32")


def shown_of(*events: Event, width: int = 100, terminal: bool = False) -> str:
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=terminal, color_system=None)
    with TerminalProgress(console) as progress:
        for event in events:
            progress(event)
    return screen.getvalue()


@pytest.mark.parametrize(
    ("steps_per_epoch", "words"),
    [
        (600.0, "(50% of the data)"),
        (300.0, "(1.0 passes over the data)"),
        (120.0, "(2.5 passes over the data)"),
    ],
)
def test_the_first_line_says_how_much_of_the_data_is_seen(steps_per_epoch: float, words: str) -> None:
    said = shown_of(TrainingStarted(0, 300, 1234567, 4096, steps_per_epoch, "cpu", "float32"))
    assert said.startswith("1,234,567 parameters, 300 steps of 4,096 tokens")
    assert words in " ".join(said.split())
    assert "Continuing" not in said


def test_a_resume_says_where_it_continues() -> None:
    assert "Continuing from step 40." in shown_of(TrainingStarted(40, 300, 1, 1, 1.0, "cpu", "float32"))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (300, None),
        (280, None),
        (
            120,
            "the 9 s that were left for training were enough for fewer",
        ),
        (
            400,
            "the 9 s that were left for training were enough for more",
        ),
    ],
)
def test_steps_that_changed_are_explained(made: int, words: str | None) -> None:
    """A training of 185 announced steps once ended at step 40 without a word.

    Then it was said that each step had taken longer, also where reading and measuring had used up the time.
    """
    said = " ".join(shown_of(STARTED, TrainingFinished(made, "finished", 1.0, made, 9.0), width=60).split())
    assert (
        (f"{made} steps instead of 300: the time was fixed, and {words}" in said)
        if words
        else ("instead of" not in said)
    )
    assert "instead of" not in shown_of(STARTED, TrainingFinished(9, "interrupted", 1.0, 9, 9.0))


@pytest.mark.parametrize(
    ("perplexity", "bits", "words"),
    [
        (12.345, 1.5, ["12.35", "1.5000"]),
        (None, None, ["-", "-"]),  # classification predicts no text
        (3.2e9, 9.0, [">1 million", "9.0000"]),
    ],
)
def test_figures_that_are_missing_or_huge_keep_their_columns(
    perplexity: float | None, bits: float | None, words: list[str]
) -> None:
    *_, head, line = shown_of(STARTED, Evaluated(75, 2.5, perplexity, bits, True, 9, 3.0)).splitlines()
    assert " ".join(line.split()) == " ".join(["75", "2.5000", *words, "3.0", "best"])
    assert line.index("2.5000") + len("2.5000") == head.index("loss") + len("loss")
    assert line.rindex("3.0") + len("3.0") == len(head)


def test_what_a_model_writes_is_neither_markup_nor_control() -> None:
    wild = "[bold]loud[/] \x1b[31mred\x07\nsecond   line"
    lines = shown_of(STARTED, Sampled(1, (wild,)), Noted(2, "[red]note[/]\x1b[2J")).splitlines()[-2:]
    assert "[bold]loud[/]" in lines[0]
    assert lines[0].endswith("second line")
    assert "[red]note[/]" in lines[1]
    assert not any("\x1b" in line or "\x07" in line for line in lines)


@pytest.mark.parametrize("width", [60, 100, 200])
def test_a_sample_stays_on_one_line(width: int) -> None:
    lines = shown_of(STARTED, Sampled(1, ("word " * 100,)), width=width).splitlines()
    assert sum("word" in line for line in lines) == 1
    assert len(lines[-1]) <= width


def test_no_sample_is_no_line() -> None:
    assert shown_of(STARTED, Sampled(1, ())) == shown_of(STARTED)


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_live_line_fits_with_all_its_numbers(width: int) -> None:
    """In 60 columns times were cut to "0:00…", and the bar was four cells wide."""
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=True, color_system=None)
    with TerminalProgress(console) as progress:
        progress(TrainingStarted(0, 10000, 1, 1, 1.0, "cpu", "float32"))
        progress(StepsFinished(1234, 7.6161, 0.1, 0.2, 9, 28417.0, 3.0, 10000))
        progress._bar.refresh()
    shown = screen.getvalue().replace("\r", "\n")
    assert "step  1234/10000" in shown
    assert "loss 7.616" in shown
    assert "28,417 tokens/s" in shown
    assert "…" not in shown
