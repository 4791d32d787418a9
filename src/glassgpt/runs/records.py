"""The events of a run on disk: `metrics.jsonl`, and `samples.md` made from it.

Each event is one line, flushed at once, so a run can be read while it trains and after a crash. When a run is resumed
from a checkpoint, the lines written after that checkpoint are removed first, so the file never contradicts itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from glassgpt import files
from glassgpt.commands import quoted
from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.training.events import (
    KINDS,
    CheckpointSaved,
    Evaluated,
    Event,
    Sampled,
    StepsFinished,
    TrainingFinished,
    TrainingStarted,
    event_from_dict,
    event_to_dict,
)

_CONTROL = dict.fromkeys((*range(32), *range(127, 160), *range(0xD800, 0xE000)), "\N{REPLACEMENT CHARACTER}")
del _CONTROL[ord("\n")], _CONTROL[ord("\t")]
_COUNTS = {
    kind: [field.name for field in fields(event) if field.type == "int"] for kind, event in KINDS.items()
}
"""The integer fields of each kind of event."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of `metrics.jsonl`: its bytes, its event if this version knows the kind, and whether it is damaged."""

    text: bytes
    event: Event | None
    is_damaged: bool = False


def read_events(path: Path) -> list[Event]:
    """Read `metrics.jsonl` and skip unreadable lines, such as a last one that a crash has cut off.

    Raises `RunError` when the file itself cannot be read.
    """
    return [line.event for line in read_lines(path) if line.event is not None]


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of `metrics.jsonl`, with only one in memory at a time.

    A last line that was cut off and events of other versions do not count as damaged. Raises `RunError` when the file
    cannot be read.
    """
    try:
        # Bytes, because a crash may cut a character, too; only "\n", because a sample may contain any other line end.
        with open(path, "rb") as file:
            for line in file:
                yield _read_line(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error


def _read_line(line: bytes) -> Line:
    text = line.removesuffix(b"\n")
    try:
        return Line(text, event_of(_values(text)))
    except (ValueError, RecursionError):
        return Line(text, None, is_damaged=text != line and bool(text.strip()))


def _values(text: bytes) -> Any:
    """Return what a line of JSON holds. The fast reader knows no NaN and no byte order mark."""
    try:
        return msgspec.json.decode(text)
    except ValueError:
        return json.loads(text.decode("utf-8-sig"))


def event_of(values: Any) -> Event | None:
    """Return the event of a line's content, None for a kind from another version.

    Raises `ValueError` when a value has the wrong type or is an impossible number.
    """
    kind = values.get("event") if isinstance(values, dict) else None
    if not isinstance(kind, str):
        raise ValueError("it names no event")
    if kind not in KINDS:
        return None
    event = event_from_dict(values)
    for name in _COUNTS[kind]:
        if not 0 <= getattr(event, name) < 2**63:
            raise ValueError("a count is negative or too large")
    seconds = getattr(event, "seconds", 0.0)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a time is negative or not finite")
    if isinstance(event, TrainingStarted) and not (
        event.tokens_per_step > 0 and 0 < event.steps_per_epoch < math.inf
    ):
        raise ValueError("a step has no tokens, or an epoch no steps")
    return event


@dataclass(frozen=True, slots=True)
class Reached:
    """The progress that a checkpoint states, as far as events can contradict it."""

    step: int
    tokens: int
    best_step: int
    best_loss: float

    def contradicts(self, event: Event) -> bool:
        """Return whether an event cannot belong to the run of this checkpoint.

        Both were written from the same numbers, so they are equal to the last bit. Two runs that agree in all of them
        cannot be told apart, but then mixing them does no harm.
        """
        if isinstance(event, StepsFinished):
            return event.step == self.step and event.tokens != self.tokens
        if not isinstance(event, Evaluated) or event.step > self.step or not math.isfinite(self.best_loss):
            return False
        return event.loss < self.best_loss or (event.step == self.best_step and event.loss != self.best_loss)


def reached(checkpoint: Path) -> Reached | None:
    """Return what the `state.json` of a checkpoint states, or None when it cannot be read."""
    try:
        return msgspec.convert(files.read_json(checkpoint / "state.json")["progress"], Reached)
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def refuse_other_metrics(run: RunDirectory, checkpoint: Reached) -> None:
    """Raise `RunError` when `metrics.jsonl` and a checkpoint are from different runs: continuing would mix them."""
    for line in read_lines(run.metrics):
        if line.event is not None and checkpoint.contradicts(line.event):
            raise RunError(
                f"{run.metrics} belongs to another run: its entry for step {line.event.step} contradicts the "
                f"checkpoint of step {checkpoint.step}. Put the original back. Without one, move it away, and the "
                f"curves begin at step {checkpoint.step}:  "
                f"mv {quoted(str(run.metrics))} {quoted(f'{run.metrics}.other')}"
            )


class MetricsFile:
    """Listener that appends each event to `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rewind(self, step: int, *, best: bool | None = None) -> None:
        """Remove every event after `step`, and the one that says how an earlier attempt ended.

        `best` is set when training continues from a checkpoint of that step, and says whether it is the best. The
        process may have been killed between the checkpoint and its line, which is then written now.
        """
        kept = [
            line
            for line in read_lines(self._path)
            if line.event is not None
            and line.event.step <= step
            and not isinstance(line.event, TrainingFinished)
        ]
        lines = [line.text.decode() + "\n" for line in kept]
        told = any(isinstance(line.event, CheckpointSaved) and line.event.step == step for line in kept)
        if best is not None and not told:
            lines.append(_line(CheckpointSaved(step, best)))
        files.write_text(self._path, "".join(lines))

    def __call__(self, event: Event) -> None:
        """Append one event."""
        with files.explain_writing(self._path), open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(event))


class SamplesFile:
    """Listener that keeps `samples.md` up to date; it must be called after `MetricsFile`."""

    what = "samples.md"

    def __init__(self, run: RunDirectory, prompts: tuple[str, ...]) -> None:
        self._run, self._prompts = run, prompts
        self._evaluated: Evaluated | None = None
        self._whole = False

    def __call__(self, event: Event) -> None:
        """Write the page at the first sample and at the end; in between append each sample.

        To write the whole page, all events are read again: at each sample that would take ever longer.
        """
        if isinstance(event, Evaluated):
            self._evaluated = event
        if isinstance(event, TrainingFinished) or (isinstance(event, Sampled) and not self._whole):
            page = samples_page(self._run.name, self._prompts, read_events(self._run.metrics))
            if page:
                files.write_text(self._run.samples, page)
            self._whole = True
        elif isinstance(event, Sampled):
            self._whole = False  # until the sample is there
            losses = {self._evaluated.step: self._evaluated.loss} if self._evaluated else {}
            section = "\n" + sample_section(event, self._prompts, losses)
            with (
                files.explain_writing(self._run.samples),
                open(self._run.samples, "a", encoding="utf-8") as file,
            ):
                file.write(section)
            self._whole = True


def samples_page(name: str, prompts: tuple[str, ...], events: list[Event]) -> str:
    """Return what the model wrote over time, as Markdown, with the loss it had then; "" without a sample."""
    losses = {event.step: event.loss for event in events if isinstance(event, Evaluated)}
    sections = [sample_section(event, prompts, losses) for event in events if isinstance(event, Sampled)]
    return "\n".join([f"# What {as_code(name)} wrote during training\n", *sections]) if sections else ""


def sample_section(event: Sampled, prompts: tuple[str, ...], losses: dict[int, float]) -> str:
    """Return a sample as a section of that page.

    A model may write anything, Markdown and HTML included, so each text is put in a fence that it cannot close.
    """
    loss = f", validation loss {losses[event.step]:.3f}" if event.step in losses else ""
    parts = [f"## Step {event.step}{loss}\n"]
    for prompt, text in zip(prompts, event.texts, strict=False):
        if prompt.strip():
            parts.append(f"After {as_code(prompt)}:\n")
        parts.append(fenced(prompt + text if prompt.strip() else text) + "\n")
    return "\n".join(parts)


def readable(text: str) -> str:
    """Return a text that a page can hold: control characters and lone surrogates become U+FFFD."""
    return text.translate(_CONTROL)


def fenced(text: str) -> str:
    """Return a text as a block of code, with a fence longer than any in it."""
    fence = "`" * max(3, 1 + _longest_ticks(text))
    return f"{fence}text\n{readable(text).strip()}\n{fence}"


def as_code(text: str) -> str:
    """Return a text as inline code that it cannot close."""
    ticks = "`" * (1 + _longest_ticks(text))
    space = " " if "`" in text else ""
    return ticks + space + " ".join(readable(text).split()) + space + ticks


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _line(event: Event) -> str:
    return files.as_utf8(json.dumps(event_to_dict(event), ensure_ascii=False)) + "\n"
