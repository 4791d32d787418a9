"""What came of a training, in words, and the one next step that would help most."""

from __future__ import annotations

import math

from rich.console import Console

from glassgpt.cli.terminal import say
from glassgpt.commands import command
from glassgpt.corpus.repeats import repeats_lines
from glassgpt.evaluation.quality_words import SENTENCES, in_words
from glassgpt.evaluation.stories import story_source
from glassgpt.jobs.work import Outcome
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.facts import Comparison
from glassgpt.runs.longer import longer
from glassgpt.runs.reading import read_config, read_lineage
from glassgpt.runs.records import read_events
from glassgpt.training.events import Evaluated

PAGE = "From what you see to its cause and cure:  glassgpt help why-is-it-bad"
ROSE = 0.01
"""The share by which a loss has to rise before it is called overfitting; less is noise."""


def say_trained(console: Console, outcome: Outcome) -> None:
    """Print what the model writes at its loss, whether it overfitted, and the next step."""
    run = outcome.directory
    measured = [event for event in read_events(run.metrics) if isinstance(event, Evaluated)]
    measured = [event for event in measured if math.isfinite(event.loss)]
    if not measured:
        return
    best, last = min(measured, key=lambda event: event.loss), measured[-1]
    if best.bits_per_byte is not None and story_source(read_config(run).corpus.sources) is None:
        say(console, _quality(run, best.bits_per_byte))
    for line in _next_step(run, best, last):
        say(console, line)


def _quality(run: RunDirectory, bits_per_byte: float) -> str:
    """Return what the model's bits per byte mean, for a text that repeats itself and for any other."""
    data = read_lineage(run).data
    if repeats := repeats_lines(data.compressed if data else None):
        return f"The model needs {bits_per_byte:.2f} bits a byte. {repeats[0]} More text with fewer repeats would help."
    help_ = f" {PAGE}" if bits_per_byte >= SENTENCES else ""
    return f"At {bits_per_byte:.2f} bits a byte, expect of English text {in_words(bits_per_byte)}.{help_}"


def _next_step(run: RunDirectory, best: Evaluated, last: Evaluated) -> tuple[str, ...]:
    if last.loss > best.loss * (1 + ROSE):
        recites = command("eval", run.handle, tasks="memorisation")
        return (
            f"It overfitted: from step {best.step} to {last.step} the loss on held-out text rose to {last.loss:.3f}. "
            "The best weights were kept; more text would help most.",
            f"Whether it recites:  {recites}",
        )
    again = longer(run)
    if best.step == last.step and again is not None:
        return (f"It was still improving. Twice the {again[0]} would help:  {again[1]}",)
    return ()


def say_finetuned(console: Console, comparison: Comparison) -> None:
    """Print whether a fine-tuning improved on its held-out examples, and whether its answers end."""
    before, after = comparison["numbers"].get("held-out loss", (math.nan, math.nan))
    if after < before:
        say(console, f"It learned: on held-out examples the loss fell from {before:.3f} to {after:.3f}.")
    elif after >= before:
        say(
            console,
            f"It learned nothing that holds for held-out examples: the loss was {before:.3f} and is {after:.3f}. More "
            f"examples would help most. {PAGE}",
        )
    noted = [sample.get("ended") for sample in comparison["samples"]]
    ended = [each for each in noted if each is not None]
    if (cut := ended.count(False)) > len(ended) / 2:
        say(
            console,
            f"{cut} of {len(ended)} sample answers were cut at the limit of tokens before they ended: more passes "
            "(--training.epochs) teach it to end, and a higher --samples.max-tokens shows longer answers.",
        )
