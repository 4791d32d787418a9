"""The events of a run on disk: `metrics.jsonl`, and `samples.md` made from it.

One line an event, flushed as it happens, so that a run can be read while it goes on and after a crash.
When a run is resumed from a checkpoint, what was written after that checkpoint is taken back first: the
file always tells one story.
"""

from __future__ import annotations

import json
from pathlib import Path

from glassgpt import files
from glassgpt.runs.directory import RunDirectory
from glassgpt.training.events import (
    Evaluated,
    Event,
    Sampled,
    TrainingFinished,
    event_from_dict,
    event_to_dict,
)


def read_events(path: Path) -> list[Event]:
    """Read `metrics.jsonl`, passing over lines that cannot be read, such as a last one that a crash has torn."""
    if not path.is_file():
        return []
    events = []
    # Bytes, because a crash tears characters too; "\n" alone, because a sample may hold any other line end.
    for line in path.read_bytes().split(b"\n"):
        try:
            events.append(event_from_dict(json.loads(line)))
        except (ValueError, KeyError, TypeError):  # torn, or of a version with other events
            continue
    return events


class MetricsFile:
    """Listener that appends each event to `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rewind(self, step: int) -> None:
        """Take back every event after `step`, and how an earlier attempt ended."""
        kept = [
            event
            for event in read_events(self._path)
            if event.step <= step and not isinstance(event, TrainingFinished)
        ]
        files.write_text(self._path, "".join(_line(event) for event in kept))

    def __call__(self, event: Event) -> None:
        """Append one event."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(event))


class SamplesFile:
    """Listener that keeps `samples.md` up to date."""

    def __init__(self, run: RunDirectory, prompts: tuple[str, ...]) -> None:
        self._run, self._prompts = run, prompts

    def __call__(self, event: Event) -> None:
        """Write the page anew after each sample; it must be called after `MetricsFile`."""
        if isinstance(event, Sampled):
            files.write_text(
                self._run.samples, samples_page(self._run.name, self._prompts, read_events(self._run.metrics))
            )


def samples_page(name: str, prompts: tuple[str, ...], events: list[Event]) -> str:
    """Return what the model wrote over time, as Markdown, with the loss it had then."""
    losses = {event.step: event.loss for event in events if isinstance(event, Evaluated)}
    parts = [f"# What {name} wrote while it learned\n"]
    for event in events:
        if not isinstance(event, Sampled):
            continue
        loss = f", validation loss {losses[event.step]:.3f}" if event.step in losses else ""
        parts.append(f"## Step {event.step}{loss}\n")
        for prompt, text in zip(prompts, event.texts, strict=False):
            parts.append(_quote(f"**{prompt}**{text}" if prompt.strip() else text) + "\n")
    return "\n".join(parts)


def _quote(text: str) -> str:
    """Quote a text. Two spaces at a line's end keep its lines apart when the page is rendered."""
    lines = text.strip().split("\n")
    return "\n".join(f"> {line}  " if line.strip() else ">" for line in lines).rstrip()


def _line(event: Event) -> str:
    return json.dumps(event_to_dict(event), ensure_ascii=False) + "\n"
