"""`report.html`: one self-contained page about a run, readable without a network or an account.

It is meant to be sent, so it names no private path of the machine, and whatever a model or a person wrote is text in
it, never markup.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jinja2

from glassgpt import files
from glassgpt.commands import command
from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import Confusion, Lineage
from glassgpt.runs.lettering import shortened, told_apart
from glassgpt.runs.markup import page_template
from glassgpt.runs.plots import main_figure, metric_figure, metric_names, series_figure
from glassgpt.runs.reading import read_comparison, read_config, read_confusion, read_lineage
from glassgpt.runs.records import read_events
from glassgpt.runs.sending import public_command, public_path, public_settings
from glassgpt.runs.summary import duration, how_far
from glassgpt.runs.svg import NARROW, WIDE, inline_svg
from glassgpt.training.events import (
    Evaluated,
    Event,
    Sampled,
    StepsFinished,
)

Read = TypeVar("Read")
MOST_ERRORS = 3
"""The most frequent errors of a classifier that are named."""
UPRIGHT = 6
"""The most labels whose columns have names that are written horizontally."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A curve in the page, and what it shows in words and numbers."""

    title: str
    svg: str
    caption: str


def write_report(run: RunDirectory) -> None:
    """Write `report.html` from the files of the run."""
    files.write_text(run.report, report_page(run))


def report_page(run: RunDirectory) -> str:
    """Return the page: curves, samples over time, numbers, config, machine."""
    events, lineage = read_events(run.metrics), read_lineage(run)
    floor = lineage.data.floor if lineage.data else None
    prompts = read_config(run).samples.prompts
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    far = how_far(events)
    over = far.finished is not None or far.started is None
    return _template().render(
        name=run.name,
        lineage=lineage,
        command=public_command(lineage.command),
        floor=floor,
        config=public_settings(run.config.read_text(encoding="utf-8")),
        curve=_curve(events, floor.loss if floor else None),
        details=_details(events),
        comparison=_read(run.comparison, lambda: read_comparison(run)),
        chain=chain(run.name, lineage),
        pictures=_metrics(events),
        confusion=_matrix(_read(run.confusion_counts, lambda: read_confusion(run))) if over else None,
        pictured=_picture_of_confusion(run) if over else None,  # of earlier weights until the end
        evaluations=evaluations,
        measured=sorted(set.intersection(*(set(event.metrics) for event in evaluations)))
        if evaluations
        else [],
        losses={event.step: event.loss for event in evaluations},
        samples=[event for event in events if isinstance(event, Sampled)],
        prompts=prompts,
        far=far,
        ended=far.finished is not None and far.finished.reason != "interrupted",
        changed=_changed(run.metrics),
        resume=command("resume", run.name) if run.checkpoints.is_dir() else "",
    )


def _template() -> jinja2.Template:
    filters = {"duration": duration, "day": _day, "number": _number, "public": public_path}
    return page_template("glassgpt.runs", "report.html.jinja", filters)


def _day(created: str | None) -> str:
    """Return a date as a person would write it; a text that is no date stays as it is."""
    try:
        moment = datetime.datetime.fromisoformat(created or "").astimezone(datetime.UTC)
    except ValueError:
        return created or "at an unknown time"
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _changed(path: Path) -> str | None:
    """Return when a file was last changed, or None if it does not exist."""
    try:
        return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat()
    except (OSError, ValueError, OverflowError):
        return None


def _number(value: float) -> str:
    return f"{value:,.3f}" if abs(value) < 1e6 else f"{value:.2e}"


def _read(path: Path, read: Callable[[], Read]) -> Read | None:
    """Return what a file holds; a damaged one, which the list of runs names, must not prevent a report."""
    try:
        return read() if path.exists() else None
    except RunError:
        return None


def chain(name: str, lineage: Lineage) -> list[str]:
    """Return a run after its ancestors, oldest first: "tales (pretraining)", "tales-sft-1 (sft)", ..."""
    before = chain(lineage.base.name, lineage.base.lineage) if lineage.base else []
    return [*before, f"{name} ({lineage.kind})"]


def _curve(events: list[Event], floor: float | None) -> Picture:
    """Return the main curve, once for a phone and once for a desk."""
    title = "Reward" if "reward" in metric_names(events) else "Loss"
    name = "reward" if title == "Reward" else None
    steps = [event for event in events if isinstance(event, StepsFinished)]
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    sentences = [
        _told("In training", [(event.step, _value(event, name)) for event in steps]),
        _told("On held-out data", [(event.step, _value(event, name)) for event in evaluations]),
        f"The lowest possible loss is {floor:.3f}." if floor is not None and name is None else "",
    ]
    caption = f"{title} over steps. " + " ".join(filter(None, sentences))

    def draw(size: tuple[float, float]) -> Any:
        return main_figure(events, title="", floor=floor, size=size)[1]

    both = [inline_svg(draw, size, salt=f"curve{size[0]}", label="curve") for size in (NARROW, WIDE)]
    return Picture(title, "\n".join(both), caption.strip())


def _metrics(events: list[Event]) -> list[Picture]:
    """Return curves of the metrics other than the loss and the reward."""
    pictures = []
    for number, name in enumerate((name for name in metric_names(events) if name != "reward"), start=1):
        label = f"measured-{number}"
        kinds = (("In training", StepsFinished), ("On held-out data", Evaluated))
        told = [
            _told(where, [(event.step, event.metrics[name]) for event in _with(events, kind, name)])
            for where, kind in kinds
        ]
        draw = partial(_metric, events, name)
        svg = inline_svg(draw, NARROW, salt=label, label=label)
        pictures.append(Picture(name, svg, f"{name} over steps. {' '.join(filter(None, told))}"))
    return pictures


def _metric(events: list[Event], name: str, size: tuple[float, float]) -> Any:
    return metric_figure(events, name, size=size)


def _with(events: list[Event], kind: type[StepsFinished | Evaluated], name: str) -> list[Any]:
    return [event for event in events if isinstance(event, kind) and name in event.metrics]


def _details(events: list[Event]) -> list[Picture]:
    steps = [event for event in events if isinstance(event, StepsFinished)]
    if not steps:
        return []
    curves = (
        ("Learning rate", "learning_rate"),
        ("Gradient norm", "gradient_norm"),
        ("Tokens a second", "tokens_per_second"),
    )
    return [_detail(number, title, name, steps) for number, (title, name) in enumerate(curves, start=1)]


def _detail(number: int, title: str, name: str, steps: Sequence[StepsFinished]) -> Picture:
    def draw(size: tuple[float, float]) -> Any:
        return series_figure(steps, name, label=title.lower(), size=size)

    label = f"detail-{number}"
    told = _told(title, [(event.step, getattr(event, name)) for event in steps])
    return Picture(title, inline_svg(draw, NARROW, salt=label, label=label), told)


def _value(event: StepsFinished | Evaluated, metric: str | None) -> float:
    return event.loss if metric is None else event.metrics.get(metric, float("nan"))


def _told(what: str, points: Sequence[tuple[int, float]]) -> str:
    """Return a curve in words: where it begins and ends, and its lowest and highest points between."""
    points = [point for point in points if point[1] == point[1]]
    if not points:
        return ""
    first, last = points[0], points[-1]
    if first == last:
        return f"{what}: {_place(first)}."
    lowest, highest = (pick(points, key=lambda point: point[1]) for pick in (min, max))
    between = [
        f"{name} {_place(point)}"
        for name, point in (("lowest", lowest), ("highest", highest))
        if point[0] not in (first[0], last[0])
    ]
    return "; ".join([f"{what}: from {_place(first)} to {_place(last)}", *between]) + "."


def _place(point: tuple[int, float]) -> str:
    step, value = point
    return f"{value:,.0f} (step {step:,})" if 1000 <= abs(value) < 1e9 else f"{value:.4g} (step {step:,})"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the confusion matrix: a label, its texts, and for each predicted label a count and its share."""

    label: str
    texts: int
    cells: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Mistake:
    """How many of a label's texts were taken for another label."""

    label: str
    taken_for: str
    count: int
    texts: int


def _matrix(confusion: Confusion | None) -> dict[str, Any] | None:
    """Return the confusion of labels as a table and what its caption says, None where it is not known."""
    if confusion is None:
        return None
    names = told_apart([shortened(label) for label in confusion.labels])
    rows = [
        Row(name, sum(counts), [(count, count / max(1, sum(counts))) for count in counts])
        for name, counts in zip(names, confusion.counts, strict=True)
    ]
    mistakes = [
        Mistake(row.label, names[at], count, row.texts)
        for row in rows
        for at, (count, _) in enumerate(row.cells)
        if count and names[at] != row.label
    ]
    return {
        "names": names,
        "rows": rows,
        "many": len(names) > UPRIGHT,
        "texts": sum(row.texts for row in rows),
        "right": sum(row.cells[at][0] for at, row in enumerate(rows)),
        "errors": sorted(mistakes, key=lambda mistake: -mistake.count)[:MOST_ERRORS],
    }


def _picture_of_confusion(run: RunDirectory) -> str | None:
    """Return the address of the picture of the confusion of labels, for a run that has no numbers of it."""
    if not run.confusion.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(run.confusion.read_bytes()).decode('ascii')}"
