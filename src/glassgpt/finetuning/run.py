"""A base and records to a fine-tuned run: the same for all kinds, which differ by their `Task` alone.

    base run -> begin -> task -> look (before) -> the loop -> best weights or adapter -> look (after) -> report

`start_finetuning` begins one, `resume_finetuning` goes on with one from its newest whole checkpoint. What is
decided once stands in `finetune.toml` of the run; base and data are read again, and are refused when they changed.
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
import torch

from glassgpt import config as configs
from glassgpt import files
from glassgpt.adapters.peft_format import WEIGHTS, save_adapter
from glassgpt.device import World
from glassgpt.errors import RunError
from glassgpt.finetuning.begin import begin, fitted
from glassgpt.finetuning.comparison import State, look, write_comparison
from glassgpt.finetuning.config import KINDS, FineTuneConfig, without_retired
from glassgpt.finetuning.task import HEAD, Say, Start, Task
from glassgpt.interop.tensors import write_tensors
from glassgpt.model.gpt import GPT
from glassgpt.pretraining.run import REPORT_SECONDS, Outcome, absolute
from glassgpt.runs.checkpoints import CheckpointStore, read_tensors
from glassgpt.runs.config import CorpusConfig, RunConfig, SamplesConfig
from glassgpt.runs.directory import RunDirectory, create_run, find_run, refuse_taken
from glassgpt.runs.lineage import derived_lineage, note_weights
from glassgpt.runs.opening import Run, find_base, open_run, read_lineage
from glassgpt.runs.plots import PlotFile, save_figure
from glassgpt.runs.records import MetricsFile, SamplesFile
from glassgpt.runs.report import write_report
from glassgpt.runs.trackers import check_trackers, make_trackers
from glassgpt.system import explaining
from glassgpt.training import distributed
from glassgpt.training.choices import settled, thread_watch
from glassgpt.training.config import TrainingConfig
from glassgpt.training.events import Listener, TrainingFinished
from glassgpt.training.interrupt import graceful_stop
from glassgpt.training.jobs import make_job, workplace
from glassgpt.training.state import restore
from glassgpt.training.trainer import train


@dataclass(frozen=True)
class Choice:
    """What is fine-tuned, on what, and how: all that `finetune.toml` holds."""

    base: str
    data: tuple[str, ...]
    config: FineTuneConfig

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return next(name for name, kind in KINDS.items() if type(self.config) is kind)


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
    """Fine-tune the run `base` on some files into a new run. The base stays as it is, whatever happens.

    `given` names settings that were chosen by hand, such as "training.learning_rate"; what else there is is fitted to
    the base (see `begin.fitted`). Raises the rooms' own errors before anything is made.
    """
    check_trackers(track)
    if name is not None:
        refuse_taken(name)
    began = time.perf_counter()
    with workplace(config.training) as (world, device):
        run = open_run(base)
        config = fitted(config, run.config.model.n_embd, given)
        choice = distributed.from_main(
            lambda: _resolve(run, data, config, device, world, say, paced=minutes is not None), world
        )
        start = begin(run, choice.data, choice.config, device=device, world=world, say=say)
        task = build_task(start, choice)
        before = look(task)
        if minutes is not None:
            left = max(1.0, 60 * minutes - (time.perf_counter() - began) - REPORT_SECONDS)
            choice = distributed.from_main(lambda: _in_seconds(choice, left), world)
        path = distributed.from_main(
            lambda: str(create_run(name, base=f"{run.directory.name}-{choice.kind}").path), world
        )
        directory = RunDirectory(Path(path))
        if world.is_main:
            _describe(directory, start, task, choice, before)
        return _FineTuning(choice, directory, start, task, before).run(listeners, track)


@explaining
def resume_finetuning(
    name: str,
    *,
    say: Say = lambda _: None,
    listeners: Sequence[Listener] = (),
    track: Sequence[str] = (),
) -> Outcome:
    """Go on with a fine-tuning that was killed or stopped. Raises `RunError` when base or data are others now."""
    check_trackers(track)
    directory = find_run(name)
    choice = read_choice(directory)
    with workplace(choice.config.training) as (world, device):
        lineage = read_lineage(directory)
        base = open_run(str(find_base(directory, lineage).path))
        start = begin(base, choice.data, choice.config, device=device, world=world, say=say)
        task = build_task(start, choice)
        if lineage["data"]["sources"] != _sources(choice):
            raise RunError(
                f"The data of {directory.name} has changed since the run began, so going on would not be the same "
                "run. Put the original files back, or start a new run."
            )
        return _FineTuning(choice, directory, start, task, look(task)).run(listeners, track)


def read_choice(directory: RunDirectory) -> Choice:
    """Read how a run was fine-tuned."""
    values = configs.read_toml(directory.finetune)
    kind, base, data = values.pop("kind"), values.pop("base"), tuple(values.pop("data"))
    values.setdefault("split_by", "place")  # a run of version 0.1.0 goes on as it began
    values = without_retired(KINDS[kind], values)
    return Choice(base, data, configs.from_dict(KINDS[kind], values, origin=str(directory.finetune)))


def build_task(start: Start, choice: Choice) -> Task:
    """Return the task of a kind; each has a module of its name."""
    return importlib.import_module(f"glassgpt.finetuning.{choice.kind}").build(start, choice.config)


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
    training = dataclasses.replace(choice.config.training, seconds=round(seconds, 1))
    return dataclasses.replace(choice, config=dataclasses.replace(choice.config, training=training))


def _sources(choice: Choice) -> list[dict[str, Any]]:
    return [
        {
            "name": Path(path).name,
            "fingerprint": files.hash_file(Path(path)) if Path(path).is_file() else path,
        }
        for path in choice.data
    ]


def _describe(directory: RunDirectory, start: Start, task: Task, choice: Choice, before: State) -> None:
    """Write what describes the run before its first update."""
    base, config = start.run, choice.config
    values = {"kind": choice.kind, "base": choice.base, "data": list(choice.data), **configs.to_dict(config)}
    files.write_text(directory.finetune, tomli_w.dumps(values))
    model = language_model(task).config
    run_config = RunConfig(
        corpus=CorpusConfig(sources=choice.data or base.config.corpus.sources),
        model=model,
        training=TrainingConfig(**dataclasses.asdict(config.training)),
        samples=SamplesConfig(prompts=tuple(sample.prompt for sample in before.samples) or ("",)),
    )
    files.write_text(directory.config, configs.to_toml(run_config))
    start.tokenizer.save(directory.tokenizer)
    facts: dict[str, Any] = {"adapter": dataclasses.asdict(config.adapter)} if config.adapter.rank else {}
    if start.template is not None:
        files.write_text(directory.chat_template, start.template.source)
        facts["chat"] = {"stop": [start.template.stop]}
    lineage = derived_lineage(
        base.directory,
        base.lineage,
        start.tokenizer,
        kind=choice.kind,
        parameters=sum(weight.numel() for weight in task.model.parameters()),
        data={"sources": _sources(choice), **task.data},
        documents=base.knows_documents,
        begin=base.begin,
        **facts,
        **task.facts,
    )
    files.write_json(directory.lineage, lineage)
    for name, value in task.extras.items():
        files.write_json(directory.path / name, value)


def language_model(task: Task) -> GPT:
    """Return the language model of a task: what is trained, or what that is built around."""
    model = task.model if isinstance(task.model, GPT) else task.model.get_submodule("gpt")
    assert isinstance(model, GPT)
    return model


class _FineTuning:
    """One fine-tuning in its directory."""

    def __init__(
        self,
        choice: Choice,
        directory: RunDirectory,
        start: Start,
        task: Task,
        before: State,
    ) -> None:
        self.choice, self.directory, self.start, self.task = choice, directory, start, task
        self.before, self.world, self.config = before, start.world, choice.config
        self.store = CheckpointStore(directory.checkpoints, self.config.training.keep_checkpoints)

    def run(self, listeners: Sequence[Listener], track: Sequence[str]) -> Outcome:
        """Train from the newest checkpoint, or from the beginning, and leave a whole run directory."""
        state = self.store.load_newest(self.start.say)
        with graceful_stop() as stop:
            job = make_job(
                self.config.training,
                self.task.model,
                device=self.start.device,
                say=self.start.say,
                batches=self.task.batches,
                steps=self.config.training.updates(self.task.batches.steps_per_epoch),
                evaluate=self.task.evaluate,
                save=self.store.save,
                sample=lambda _step: [sample.text for sample in self.task.samples()],
                numbers=self.task.numbers,
                stop=lambda: stop.requested,
                loss=self.task.loss,
                counted=self.task.counted,
                world=self.world,
                watch=thread_watch(
                    self.start.model.config,
                    self.config.training,
                    self.start.device,
                    processes=self.world.local_size,
                ),
            )
            progress = restore(state, self.task.model, job.optimizer) if state else None
            del state
            if self.world.is_main:
                own = self._open_files(progress.step if progress else -1)
                job.listeners = [*own, *make_trackers(track, self.directory), *listeners]
            finished = train(job, progress)
        if self.world.is_main:
            self._finish(finished)
        return Outcome(self.directory, finished, None)

    def _open_files(self, step: int) -> list[Listener]:
        """Return the listeners that write into the run, what was written after `step` taken back."""
        metrics = MetricsFile(self.directory.metrics)
        metrics.rewind(step)
        prompts = tuple(sample.prompt for sample in self.before.samples)
        return [metrics, SamplesFile(self.directory, prompts), PlotFile(self.directory, None)]

    def _finish(self, finished: TrainingFinished) -> None:
        """Put the final weights in their place, compare with the base, and write the report."""
        best = self.store.best() if self.config.training.final_weights == "best" else None
        folder = best or self.store.newest()
        assert folder is not None
        self.task.model.load_state_dict(read_tensors(folder / "model.safetensors"), strict=False)
        self._publish(folder)
        if finished.reason != "interrupted":
            write_comparison(self.directory, self.before, look(self.task))
        for name, figure in self.task.pictures().items():
            save_figure(figure, self.directory.path / name)
        write_report(self.directory)

    def _publish(self, checkpoint: Path) -> None:
        """Write the model, or the adapter where the model is frozen, and record which weights they are."""
        step = files.read_json(checkpoint / "state.json")["progress"]["step"]
        note_weights(self.directory, None)
        model, lora = language_model(self.task), self.config.adapter
        if lora.rank:
            base = Path(self.choice.base).name
            save_adapter(self.directory.adapter, model, lora, base=base)
            written = self.directory.adapter / WEIGHTS
        else:
            _write(model.state_dict(), self.directory.weights)
            written = self.directory.weights
        beside = self.task.tensors()
        if beside:
            _write(beside, self.directory.path / HEAD)
        note_weights(self.directory, {"step": step, "loss": None, "sha256": files.hash_file(written)})


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    write_tensors(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, tensors.__getitem__)
