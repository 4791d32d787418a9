"""The validation curves of several runs in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from glassgpt import files
from glassgpt.runs.plots import figure_png, new_figure, set_scale
from glassgpt.runs.records import readable
from glassgpt.training.events import Evaluated, Event

COMPARED = ("#c0392b", "#2471a3", "#b9770e", "#2e7d4f", "#7d3c98", "#5d6d7e")
COMPARISON = "GlassGPT runs compare"


def comparison_figure(runs: Sequence[tuple[str, Sequence[Event]]]) -> Figure:
    """Return the validation curves of several runs in one figure, in bits per byte over seconds.

    Runs that were never evaluated are left out.
    """
    figure, axes = new_figure()
    measured = [
        (
            name,
            [event for event in events if isinstance(event, Evaluated) and event.bits_per_byte is not None],
        )
        for name, events in runs
    ]
    measured = [(name, evaluations) for name, evaluations in measured if evaluations]
    for index, (name, evaluations) in enumerate(measured):
        color = COMPARED[index % len(COMPARED)]
        axes.plot(
            [event.seconds for event in evaluations],
            [event.bits_per_byte or 0.0 for event in evaluations],
            color=color,
            marker="o",
            markersize=3,
            linewidth=2,
            label=readable(name),
        )
    set_scale(axes, [event.bits_per_byte or 0.0 for _, evaluations in measured for event in evaluations])
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("validation bits per byte")
    axes.set_title("Runs compared", loc="left", fontweight="bold")
    if measured:
        for text in axes.legend(frameon=False).get_texts():
            text.set_parse_math(False)  # a run's name may be $5
    return figure


def save_comparison(figure: Figure, path: Path) -> None:
    """Write a figure that compares runs as PNG, with a note in it that `is_comparison` recognizes."""
    with files.atomic_write(path, "wb") as file:
        file.write(figure_png(figure, made_by=COMPARISON))


def is_comparison(path: Path) -> bool:
    """Return whether a file is a picture that compares runs."""
    with open(path, "rb") as file:
        head = file.read(1000)
    return head.startswith(b"\x89PNG") and COMPARISON.encode() in head
