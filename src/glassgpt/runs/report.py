"""`report.html`: one self-contained page about a run, readable without a network or an account."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any

import jinja2
from matplotlib.figure import Figure

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import Comparison, Lineage
from glassgpt.runs.plots import figure_png, main_figure, metric_figure, metric_names, series_figure
from glassgpt.runs.reading import read_comparison, read_config, read_lineage
from glassgpt.runs.records import read_events, readable
from glassgpt.runs.summary import duration
from glassgpt.training.events import (
    Evaluated,
    Event,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
)


def write_report(run: RunDirectory) -> None:
    """Write `report.html` from the files of the run."""
    files.write_text(run.report, report_page(run))


def report_page(run: RunDirectory) -> str:
    """Return the page: curves, samples over time, numbers, config, machine."""
    events = read_events(run.metrics)
    lineage = read_lineage(run)
    floor = lineage.data.floor if lineage.data else None
    template = resources.files("glassgpt.runs").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_readable
    )
    environment.filters["duration"] = duration
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    curve_title, curve = main_figure(events, title="", floor=floor.loss if floor else None)
    return environment.from_string(template).render(
        name=run.name,
        lineage=lineage,
        floor=floor,
        config=run.config.read_text(encoding="utf-8"),
        curve_title=curve_title,
        curve=_picture(curve),
        details=_details(events),
        comparison=_comparison(run),
        chain=chain(run.name, lineage),
        pictures=_pictures(run, events),
        evaluations=evaluations,
        measured=sorted(set.intersection(*(set(event.metrics) for event in evaluations)))
        if evaluations
        else [],
        losses={event.step: event.loss for event in evaluations},
        samples=[event for event in events if isinstance(event, Sampled)],
        prompts=read_config(run).samples.prompts,
        **_summary(events),
    )


def _readable(value: Any) -> Any:
    """Return a value without characters that a page cannot hold; markup that is marked as safe stays as it is."""
    return readable(value) if type(value) is str else value


def _comparison(run: RunDirectory) -> Comparison | None:
    """Return the comparison; a damaged file, which the list of runs names, must not prevent a report."""
    try:
        return read_comparison(run) if run.comparison.exists() else None
    except RunError:
        return None


def chain(name: str, lineage: Lineage) -> list[str]:
    """Return a run after its ancestors, oldest first: "tales (pretraining)", "tales-sft-1 (sft)", ..."""
    before = chain(lineage.base.name, lineage.base.lineage) if lineage.base else []
    return [*before, f"{name} ({lineage.kind})"]


def _pictures(run: RunDirectory, events: list[Event]) -> list[tuple[str, str]]:
    """Return further pictures: curves of the metrics other than the loss, and the confusion of labels."""
    pictures = [
        (name, _picture(metric_figure(events, name))) for name in metric_names(events) if name != "reward"
    ]
    if run.confusion.is_file():
        pictures.append(("True and predicted labels", _embedded(run.confusion.read_bytes())))
    return pictures


def _summary(events: list[Event]) -> dict[str, Any]:
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    return {
        "started": next((event for event in events if isinstance(event, TrainingStarted)), None),
        "finished": next((event for event in reversed(events) if isinstance(event, TrainingFinished)), None),
        "last": next((event for event in reversed(events) if isinstance(event, StepsFinished)), None),
        "best": min(evaluations, key=lambda event: event.loss) if evaluations else None,
    }


def _details(events: list[Event]) -> list[tuple[str, str]]:
    steps = [event for event in events if isinstance(event, StepsFinished)]
    if not steps:
        return []
    curves = (
        ("Learning rate", "learning_rate"),
        ("Gradient norm", "gradient_norm"),
        ("Tokens a second", "tokens_per_second"),
    )
    return [(title, _picture(series_figure(steps, name, label=title.lower()))) for title, name in curves]


def _picture(figure: Figure) -> str:
    return _embedded(figure_png(figure))


def _embedded(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
