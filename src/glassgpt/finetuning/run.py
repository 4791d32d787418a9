"""From a base and records to a fine-tuned run. It is the same for all kinds, which differ only by their `Task`.

    base run -> start -> task -> look (before) -> the loop -> best weights or adapter -> look (after) -> report

`start_finetuning` begins a run, `resume_finetuning` continues one from its newest complete checkpoint. All decisions
are stored in the run's `finetune.toml`. The base and the data are read again, and are refused if they have changed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from glassgpt import config as configs
from glassgpt import files
from glassgpt.adapters.peft_format import WEIGHTS, save_adapter
from glassgpt.device import World
from glassgpt.finetuning.building import build_task, language_model
from glassgpt.finetuning.choice import (
    Choice,
    find_data,
    read_choice,
    refuse_other_amounts,
    refuse_other_data,
    source_facts,
)
from glassgpt.finetuning.comparison import State, look, write_comparison
from glassgpt.finetuning.config import kind_name
from glassgpt.finetuning.settings import FineTuneConfig
from glassgpt.finetuning.start import fitted, make_start
from glassgpt.finetuning.task import HEAD, Say, Start, Task
from glassgpt.finetuning.weak import weak_base
from glassgpt.interop.tensors import write_tensors
from glassgpt.jobs.holding import is_unborn, on_all_ranks
from glassgpt.jobs.work import Outcome, Place, Work, carry_out, final_checkpoint, within
from glassgpt.runs.beginning import new_run
from glassgpt.runs.checkpoints import CheckpointStore, read_state, read_tensors
from glassgpt.runs.claim import Claim, writing
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.runs.directory import RunDirectory, find_run, refuse_taken
from glassgpt.runs.facts import WeightFacts
from glassgpt.runs.lineage import derived_lineage, note_weights, write_lineage
from glassgpt.runs.opening import Run, find_base, open_run, open_tokenizer
from glassgpt.runs.places import absolute
from glassgpt.runs.plots import save_figure
from glassgpt.runs.reading import read_lineage
from glassgpt.runs.trackers import check_trackers
from glassgpt.system import explaining
from glassgpt.training import distributed
from glassgpt.training.choices import settled
from glassgpt.training.config import TrainingConfig
from glassgpt.training.events import Listener, TrainingFinished
from glassgpt.training.jobs import workplace
from glassgpt.training.listening import without_ending


@explaining
def start_finetuning(
    base: str,
    data: Sequence[str],
    config: FineTuneConfig,
    *,
    name: str | None = None,
    given: Sequence[str] = (),
    minutes: float | None = None,
    say: Say = lambda _: None,
    listeners: Sequence[Listener] = (),
    track: Sequence[str] = (),
) -> Outcome:
    """Fine-tune the run `base` on some files into a new run. The base is never changed.

    `given` names settings that were chosen by hand, such as "training.learning_rate"; the others are fitted to the
    base (see `start.fitted`). Errors of the packages below are raised before anything is written.
    """
    check_trackers(track)
    if name is not None:
        refuse_taken(name)
    began = time.perf_counter()
    with workplace(config.training) as (world, device):
        run = open_run(base)
        if world.is_main and (weak := weak_base(run, kind_name(config))):
            say(weak)
        config = fitted(config, run.config.model.n_embd, given)
        choice = distributed.from_main(
            lambda: _resolve(run, data, config, device, world, say, paced=minutes is not None), world
        )
        start = make_start(run, choice.data, choice.config, device=device, world=world, say=say)
        task = build_task(start, choice)
        before = look(task)
        if minutes is not None:
            left = 60 * minutes - (time.perf_counter() - began)
            choice = distributed.from_main(lambda: _in_seconds(choice, left), world)
        base_name = f"{run.directory.name}-{choice.kind}"
        training = _FineTuning(choice, start, task, before)
        with on_all_ranks(lambda: new_run(name, base=base_name, describe=training.describe), world) as claim:
            return training.run(claim, listeners, track)


@explaining
def resume_finetuning(
    name: str,
    *,
    sources: Sequence[str] = (),
    say: Say = lambda _: None,
    listeners: Sequence[Listener] = (),
    track: Sequence[str] = (),
    on: str | None = None,
) -> Outcome:
    """Resume a fine-tuning that was killed or stopped, from its newest complete checkpoint.

    `sources` says where its data is now, if it was moved, and `on` names another device than the run's. Raises
    `RunError` when base or data have changed, or when another process writes to the run.
    """
    check_trackers(track)
    directory = find_run(name)
    choice = read_choice(directory)
    settings = choice.config.training
    with (
        workplace(dataclasses.replace(settings, device=on or settings.device)) as (world, device),
        on_all_ranks(lambda: writing(directory), world) as claim,
    ):
        noted, lineage = choice, None if is_unborn(directory) else read_lineage(directory)
        if lineage is None:
            base = open_run(choice.base)
            choice = dataclasses.replace(choice, data=absolute(sources) if sources else choice.data)
        else:
            choice = find_data(directory, choice, lineage, sources)
            base = open_run(str(find_base(directory, lineage).path))
            refuse_other_data(directory, lineage, choice)
        start = make_start(base, choice.data, choice.config, device=device, world=world, say=say)
        task = build_task(start, choice, resumed=True)
        training = _FineTuning(choice, start, task, look(task))
        if world.is_main:
            if lineage is None:
                training.describe(directory)
            else:
                refuse_other_amounts(directory, lineage, task.data, choice)
                training.describe_missing(directory)
                open_tokenizer(directory, lineage)
                if choice != noted:
                    files.write_text(directory.finetune, choice.to_toml())
        return training.run(claim, listeners, track)


def _resolve(
    base: Run,
    data: Sequence[str],
    config: FineTuneConfig,
    device: torch.device,
    world: World,
    say: Say,
    *,
    paced: bool,
) -> Choice:
    """Return the choice with everything decided, so that a resume cannot decide otherwise."""
    training = settled(
        config.training, base.config.model, device, paced=paced, processes=world.local_size, say=say
    )
    config = dataclasses.replace(config, training=training)
    return Choice(str(base.directory.path.resolve()), absolute(data), config)


def _in_seconds(choice: Choice, seconds: float) -> Choice:
    training = within(choice.config.training, seconds)
    return dataclasses.replace(choice, config=dataclasses.replace(choice.config, training=training))


class _FineTuning:
    """One fine-tuning."""

    def __init__(self, choice: Choice, start: Start, task: Task, before: State) -> None:
        self.choice, self.start, self.task = choice, start, task
        self.before, self.world, self.config = before, start.world, choice.config
        self.prompts = tuple(sample.prompt for sample in before.samples)

    def describe(self, directory: RunDirectory) -> None:
        """Write what describes the run before its first update, the lineage last."""
        base, start, task = self.start.run, self.start, self.task
        files.write_text(directory.finetune, self.choice.to_toml())
        run_config = RunConfig(
            corpus=CorpusConfig(sources=self.choice.data or base.config.corpus.sources),
            model=language_model(task).config,
            training=TrainingConfig(**dataclasses.asdict(self.config.training)),
            samples=PromptsConfig(prompts=self.prompts or ("",)),
        )
        files.write_text(directory.config, configs.to_toml(run_config))
        self.describe_missing(directory)
        facts: dict[str, Any] = (
            {"adapter": dataclasses.asdict(self.config.adapter)} if self.config.adapter.rank else {}
        )
        if start.template is not None:
            facts["chat"] = {"stop": [start.template.stop]}
        lineage = derived_lineage(
            base.directory,
            base.lineage,
            start.tokenizer,
            kind=self.choice.kind,
            parameters=sum(weight.numel() for weight in task.model.parameters()),
            data={"sources": source_facts(self.choice.data), **task.data},
            documents=base.knows_documents,
            begin=base.begin,
            **facts,
            **task.facts,
        )
        write_lineage(directory, lineage)

    def describe_missing(self, directory: RunDirectory) -> None:
        """Write the tokenizer, the template and the kind's own files where they are missing.

        Older versions wrote some of them after the lineage, so a kill could leave them out.
        """
        if not directory.tokenizer.exists():
            self.start.tokenizer.save(directory.tokenizer)
        if self.start.template is not None and not directory.chat_template.exists():
            files.write_text(directory.chat_template, self.start.template.source)
        for name, value in self.task.extras.items():
            if not (directory.path / name).exists():
                files.write_json(directory.path / name, value)

    def run(self, claim: Claim, listeners: Sequence[Listener], track: Sequence[str]) -> Outcome:
        """Train from the newest checkpoint, or from the beginning, and leave a complete run directory."""
        start, task = self.start, self.task
        work = Work(
            config=self.config.training,
            model=task.model,
            shape=start.model.config,
            batches=task.batches,
            evaluate=task.evaluate,
            sample=self.sample if self.prompts else None,
            prompts=self.prompts,
            loss=task.loss,
            counted=task.counted,
            metrics=task.metrics,
            finish=self._finish,
        )
        return carry_out(work, Place(start.device, start.world, start.say), claim, listeners, track)

    def sample(self, _step: int) -> list[str]:
        """Return the samples that are shown during training."""
        return [sample.text for sample in self.task.samples()]

    def _finish(self, directory: RunDirectory, store: CheckpointStore, finished: TrainingFinished) -> None:
        """Put the final weights in their place, compare with the base, and write what shows the result."""
        folder = final_checkpoint(self.config.training, store)
        assert folder is not None
        self.task.model.load_state_dict(read_tensors(folder / "model.safetensors"), strict=False)
        self._publish(directory, folder)
        if finished.reason != "interrupted":
            write_comparison(directory, self.before, look(self.task))
        without_ending("The pictures", lambda: self._show(directory), self.start.say)

    def _show(self, directory: RunDirectory) -> None:
        for name, found in self.task.findings().items():
            if isinstance(found, Figure):
                save_figure(found, directory.path / name)
            else:
                files.write_json(directory.path / name, found)

    def _publish(self, directory: RunDirectory, checkpoint: Path) -> None:
        """Write the model, or the adapter if the model is frozen, and record which weights they are."""
        step = read_state(checkpoint).progress.step
        note_weights(directory, None)
        model, lora = language_model(self.task), self.config.adapter
        if lora.rank:
            save_adapter(directory.adapter, model, lora, base=Path(self.choice.base).name)
            written = directory.adapter / WEIGHTS
        else:
            _write(model.state_dict(), directory.weights)
            written = directory.weights
        head = None
        beside = self.task.tensors()
        if beside:
            _write(beside, directory.path / HEAD)
            head = files.hash_file(directory.path / HEAD)
        note_weights(directory, WeightFacts(step=step, sha256=files.hash_file(written), head=head))


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    write_tensors(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__)
