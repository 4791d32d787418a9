"""A fine-tuned run measured by its kind's own measure, on the examples that it was not trained on.

A run records its base, its data and its settings, and these decide which of its examples were held out. So the task is
built again as for a resume, and gets the run's final weights. Other examples are all held out, so the finished run is
measured on them as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from glassgpt.adapters.lora import merge
from glassgpt.chat.conversation import template_of
from glassgpt.chat.templates import ChatTemplate
from glassgpt.commands import command
from glassgpt.corpus.formats import holds_records
from glassgpt.corpus.records import TEXT_FIELDS, read_records
from glassgpt.corpus.sources import open_sources
from glassgpt.device import World
from glassgpt.errors import ConfigError, CorpusError, EvaluationError, RunError
from glassgpt.finetuning.building import kind_task, language_model
from glassgpt.finetuning.choice import find_data, is_unchanged, other_reading, read_choice
from glassgpt.finetuning.comparison import numbers
from glassgpt.finetuning.config import KINDS, Kind
from glassgpt.finetuning.settings import ChatConfig, FineTuneConfig
from glassgpt.finetuning.start import make_start
from glassgpt.finetuning.task import HEAD, Start, Task
from glassgpt.model.forms import form_of, store
from glassgpt.registry import imported
from glassgpt.runs.checkpoints import read_tensors
from glassgpt.runs.facts import DataFacts
from glassgpt.runs.opening import Run, find_base, open_run


@dataclass(frozen=True)
class Figures:
    """The figures of a fine-tuned run on some examples, by the names that its comparison has."""

    kind: str
    text: str
    """The examples, in words."""
    examples: int
    numbers: dict[str, float]
    notes: tuple[str, ...] = ()
    """Sentences about what was left out or cut."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures under the names that `glassgpt eval --json` gives them."""
        figures = {name.replace(" ", "_"): value for name, value in self.numbers.items()}
        return {"kind": self.kind, "text": self.text, "examples": self.examples, **figures}


def measure_examples(run: Run, sources: Sequence[str], text_field: str | None = None) -> Figures | None:
    """Measure an opened fine-tuned run on all examples of other sources; None where they are text.

    Raises `ConfigError` where only some are text, and the errors of the kind where records are not its examples.
    """
    kind = KINDS.get(run.lineage.kind)
    if kind is None or kind.measure is None:
        return None
    config = read_choice(run.directory).config
    if text_field is not None:
        if not hasattr(config, "text_field"):
            return None
        config = dataclasses.replace(config, **{"text_field": text_field})
    if isinstance(config, ChatConfig):
        config = dataclasses.replace(config, too_long="skip")
    data = _example_files(kind, sources)
    if data is None:
        return None
    notes: list[str] = []
    start = Start(
        run=run,
        model=run.model,
        tokenizer=run.tokenizer,
        device=_device_of(run),
        data=data,
        seed=config.training.seed,
        batch_size=config.training.batch_size,
        template=_template_of(run, config),
        say=notes.append,
    )
    try:
        count, measured = imported(kind.measure)(start, config)
    except CorpusError as error:
        raise CorpusError(f"{error}{_as_text(run, data, sources)}") from error
    text = f"{count:,} example{'s' * (count != 1)} of {', '.join(sources)}"
    return Figures(run.lineage.kind, text, count, numbers(measured), tuple(notes))


def _example_files(kind: Kind, sources: Sequence[str]) -> tuple[str, ...] | None:
    """Return the files (and folders of labels) with examples that sources name, or None where all is text."""
    examples: list[str] = []
    texts: list[str] = []
    for source in sources:
        path = Path(source).expanduser()
        if kind.folders and path.is_dir():
            examples.append(str(path))
            continue
        for file in open_sources([source]):
            (examples if holds_records(Path(file.name)) else texts).append(file.name)
    if examples and texts:
        raise ConfigError(
            f"{texts[0]} is text, and {examples[0]} holds examples, which are measured in another way. Measure one "
            "after the other."
        )
    return tuple(examples) or None


def _template_of(run: Run, config: FineTuneConfig) -> ChatTemplate | None:
    template = template_of(run)
    if template is None and isinstance(config, ChatConfig) and not config.PLAIN:
        raise RunError(f"{run.directory.chat_template} is missing. Put the original back from a copy.")
    return template


def _as_text(run: Run, data: Sequence[str], sources: Sequence[str]) -> str:
    """Return how to measure records as text that are not examples, if they have a field that usually holds text."""
    first = next(
        (record for path in data if Path(path).is_file() for record, _ in read_records(Path(path))), {}
    )
    field = next((name for name in TEXT_FIELDS if isinstance(first, dict) and name in first), None)
    if field is None or run.lineage.labels is not None:
        return ""
    line = command("eval", run.directory.handle, *sources, text_field=field)
    return f" If it is text, measure it as such:  {line}"


def _device_of(run: Run) -> torch.device:
    return run.model.token_embedding.weight.device


def measure_held_out(run: Run, moved: Sequence[str] = ()) -> Figures:
    """Measure an opened fine-tuned run on its held-out examples; `moved` says where its data is now.

    Raises `RunError` for a base or data that cannot be found, and `EvaluationError` for data that has changed or is
    read otherwise than when the run began.
    """
    directory, lineage = run.directory, run.lineage
    choice = find_data(directory, read_choice(directory), lineage, moved, ask="eval")
    if not is_unchanged(directory, lineage, choice):
        raise _not_known(
            run,
            f"The data of {directory.name} has changed since the run began,",
            "Put the original files back",
        )
    device = _device_of(run)
    base = open_run(str(find_base(directory, lineage).path))
    start = make_start(base, choice.data, choice.config, device=device, world=World(), say=lambda _: None)
    task = kind_task(start, choice)
    if (reading := other_reading(directory, lineage, task.data, choice)) is not None:
        raise _not_known(run, f"{reading[:-1]},", "Measure it with that version")
    # Rounded weights cannot be taken over: the exact ones are rounded after that.
    form = form_of(run.model)
    _take_weights(task, run if form == "as-saved" else open_run(str(directory.path), device=device))
    store(language_model(task), form)
    split = msgspec.convert({"sources": [], **task.data}, DataFacts).splits.get("validation")
    held = split.told if split is not None else 0
    text = f"its {held:,} held-out example{'s' * (held != 1)}"
    return Figures(choice.kind, text, held, numbers(task.evaluate()))


def _not_known(run: Run, why: str, way_out: str) -> EvaluationError:
    return EvaluationError(
        f"{why} so its held-out examples are not known any more. {way_out}, or measure it on a text:  "
        f"{command('eval', run.directory.handle, 'TEXT')}"
    )


@torch.no_grad()
def _take_weights(task: Task, run: Run) -> None:
    """Give a task the weights of a finished run, in which a LoRA adapter is merged already."""
    model = merge(language_model(task))
    model.load_state_dict(run.model.state_dict())
    beside = task.tensors()
    if beside:
        saved = read_tensors(run.directory.path / HEAD)
        for name, tensor in beside.items():
            tensor.copy_(saved[name])
