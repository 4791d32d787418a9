"""`report.html`: one self-contained page about a run, readable without a network or an account."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any

import jinja2
from matplotlib.figure import Figure

from glassgpt import config as configs
from glassgpt import files
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.plots import figure_png, loss_figure, series_figure
from glassgpt.runs.records import read_events
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
    lineage = files.read_json(run.lineage)
    floor = lineage["data"]["floor"]
    template = resources.files("glassgpt.runs").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["duration"] = duration
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    return environment.from_string(template).render(
        name=run.name,
        lineage=lineage,
        floor=floor,
        config=run.config.read_text(encoding="utf-8"),
        curve=_picture(loss_figure(events, title="", floor=floor["loss"] if floor else None)),
        details=_details(events),
        evaluations=evaluations,
        losses={event.step: event.loss for event in evaluations},
        samples=[event for event in events if isinstance(event, Sampled)],
        prompts=configs.load(RunConfig, run.config).samples.prompts,
        **_summary(events),
    )


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
    return "data:image/png;base64," + base64.b64encode(figure_png(figure)).decode("ascii")
