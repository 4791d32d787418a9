"""From a configuration to a trained run: the packages below, joined in the order in which the data passes them.

    corpus -> tokenizer -> shards -> model -> the loop -> checkpoints, metrics, samples -> best weights, report

`start_run` begins a run, `resume_run` continues one from its newest complete checkpoint. Both end in the same few
lines, so a resumed run takes the same path as an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from glassgpt import config as configs
from glassgpt import files
from glassgpt.corpus.repeats import repeats_lines
from glassgpt.dataset.ahead import Ahead
from glassgpt.dataset.batches import Batches, check_length
from glassgpt.dataset.shards import TokenSplit
from glassgpt.device import World, dtype_of, seed_everything
from glassgpt.evaluation.loss import Evaluation, evaluate, unknown_in
from glassgpt.generation.engines import steady_for
from glassgpt.generation.text import GenerationConfig, complete, prompt_ids, unseen_part
from glassgpt.jobs.holding import is_unborn, on_all_ranks
from glassgpt.jobs.work import Outcome, Place, Say, Work, carry_out, final_checkpoint, within
from glassgpt.model.gpt import GPT
from glassgpt.pretraining.data import PreparedData, compressed_held_out, prepare_data, refuse_other_data
from glassgpt.pretraining.floor import known_floor
from glassgpt.pretraining.places import find_text
from glassgpt.runs.beginning import new_run
from glassgpt.runs.checkpoints import CheckpointStore
from glassgpt.runs.claim import Claim, writing
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory, find_run, refuse_taken
from glassgpt.runs.lineage import first_lineage, publish_weights, write_lineage
from glassgpt.runs.opening import open_tokenizer
from glassgpt.runs.places import absolute
from glassgpt.runs.reading import read_config, read_lineage
from glassgpt.runs.trackers import check_trackers
from glassgpt.runs.vocabulary import tokenizer_place
from glassgpt.system import explaining
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.ready_made import READY_MADE
from glassgpt.training import distributed
from glassgpt.training.choices import settled
from glassgpt.training.events import Listener, TrainingFinished
from glassgpt.training.fits import refuse_what_does_not_fit
from glassgpt.training.jobs import workplace


@explaining
def start_run(
    config: RunConfig,
    *,
    name: str | None = None,
    say: Say = lambda _: None,
    listeners: Sequence[Listener] = (),
    track: Sequence[str] = (),
    deadline: float | None = None,
) -> Outcome:
    """Train a new run. Raises `RunError` when `name` is taken, and the errors of the packages below.

    `say` receives one line per stage, `listeners` the events of the loop; `track` names trackers.
    `deadline`, a time of `time.perf_counter`, is when everything should be finished: training gets the time that
    preparing leaves.
    """
    check_trackers(track)
    if name is not None:
        refuse_taken(name)
    with workplace(config.training) as (world, device):
        smallest = dataclasses.replace(config.model, vocab_size=1)  # the text decides the vocabulary
        refuse_what_does_not_fit(smallest, config.training, device, rows=_rows(config, world))
        data = _prepare(config, world, say)
        check_length(data.shards.split("train"), config.model.context_length)  # before anything is written
        model = dataclasses.replace(config.model, vocab_size=data.tokenizer.vocab_size)
        refuse_what_does_not_fit(model, config.training, device, rows=_rows(config, world))
        config = distributed.from_main(lambda: _decide(config, data, device, world, say, deadline), world)
        training = _Training(config, data, world, device, say)
        if world.is_main and deadline is None:  # with a deadline there was a plan, which says it
            for line in repeats_lines(training.compressed):
                say(line)
        base = source_name(config.corpus.sources[0])
        with on_all_ranks(lambda: new_run(name, base=base, describe=training.describe), world) as claim:
            return training.run(claim, listeners, track)


@explaining
def resume_run(
    name: str,
    *,
    sources: Sequence[str] = (),
    say: Say = lambda _: None,
    listeners: Sequence[Listener] = (),
    track: Sequence[str] = (),
    on: str | None = None,
) -> Outcome:
    """Resume a run that was killed or stopped, from its newest complete checkpoint.

    `sources` says where its text is now, if it was moved, and `on` names another device than the run's. Raises
    `RunError` when the data or the tokenizer has changed since the run began, or when another process writes to the
    run.
    """
    check_trackers(track)
    directory = find_run(name)
    noted = read_config(directory)
    with (
        workplace(dataclasses.replace(noted.training, device=on or noted.training.device)) as (world, device),
        on_all_ranks(lambda: writing(directory), world) as claim,
    ):
        unborn = is_unborn(directory)
        config = _with_sources(noted, sources) if unborn else find_text(directory, noted, sources)
        data = _prepare(config, world, say)
        refuse_what_does_not_fit(
            config.model, config.training, device, rows=_rows(config, world), resumed=True
        )
        training = _Training(config, data, world, device, say)
        if world.is_main and unborn:
            training.describe(directory)
        distributed.barrier(world)
        refuse_other_data(directory, data)
        if world.is_main:
            if not (directory.tokenizer.exists() or directory.tokenizer.is_symlink()):
                data.tokenizer.save(directory.tokenizer)  # the data is known to use the run's vocabulary
            open_tokenizer(directory, read_lineage(directory))
        if world.is_main and config != noted:
            files.write_text(directory.config, configs.to_toml(config))
        return training.run(claim, listeners, track)


def _with_sources(config: RunConfig, sources: Sequence[str]) -> RunConfig:
    """Return the config with other sources, if any are given. Nothing was learned yet that could contradict them."""
    corpus = dataclasses.replace(config.corpus, sources=absolute(sources)) if sources else config.corpus
    return dataclasses.replace(config, corpus=corpus)


def _rows(config: RunConfig, world: World) -> int:
    """Return the rows of a batch of this process."""
    return -(-config.training.batch_size // world.size)


def source_name(source: str) -> str:
    """Return a short name for a source: "tale" for "texts/tale.txt.gz", "tinytales" for "builtin:tinytales:9"."""
    kind, _, rest = source.partition(":")
    name = re.split("[:#]", rest)[0] if kind in ("builtin", "hf") else source
    return Path(name).name.split(".")[0] or "run"


def _prepare(config: RunConfig, world: World, say: Say) -> PreparedData:
    """Let the main process prepare the data, and the others open it."""
    if world.is_main:
        data = prepare_data(config, say)
        distributed.barrier(world)
        return data
    distributed.barrier(world)
    return prepare_data(config)


def _resolve(
    config: RunConfig, data: PreparedData, device: torch.device, world: World, say: Say, *, paced: bool
) -> RunConfig:
    """Return the config with everything decided, so that a resume cannot decide otherwise.

    The vocabulary size comes from the data, threads and precision from measurements; sources become absolute,
    so that the run can be resumed from any folder.
    """
    model = dataclasses.replace(config.model, vocab_size=data.tokenizer.vocab_size)
    return dataclasses.replace(
        config,
        corpus=dataclasses.replace(config.corpus, sources=absolute(config.corpus.sources)),
        tokenizer=dataclasses.replace(config.tokenizer, name=_absolute_tokenizer(config.tokenizer.name)),
        model=model,
        training=settled(config.training, model, device, paced=paced, processes=world.local_size, say=say),
    )


def _absolute_tokenizer(name: str | None) -> str | None:
    place = name and tokenizer_place(name)
    if place is None or place in READY_MADE or not Path(place).exists():
        return place
    return str(Path(place).resolve())


def _decide(
    config: RunConfig,
    data: PreparedData,
    device: torch.device,
    world: World,
    say: Say,
    deadline: float | None,
) -> RunConfig:
    """Return the config with everything decided, including the time that is left."""
    decided = _resolve(config, data, device, world, say, paced=deadline is not None)
    return _in_time(decided, deadline)


def _in_time(config: RunConfig, deadline: float | None) -> RunConfig:
    """Return the config with the seconds left for training, less the time for the report at the end."""
    if deadline is None:
        return config
    training = within(config.training, deadline - time.perf_counter())
    return dataclasses.replace(config, training=training)


def measure_split(
    model: GPT,
    tokenizer: FastTokenizer,
    config: RunConfig,
    split: TokenSplit,
    *,
    max_tokens: int,
    precision: torch.dtype = torch.float32,
) -> Evaluation:
    """Measure a model on a split as its run does: on whole documents if it trains on them."""
    # A text shorter than the window is measured through a shorter window.
    lengths = tokenizer.byte_lengths()
    unknown = None if tokenizer.unknown_id == tokenizer.end_of_text else tokenizer.unknown_id
    return evaluate(
        model,
        split,
        context_length=min(config.model.context_length, max(1, len(split) - 1)),
        max_tokens=max_tokens,
        byte_lengths=lengths if tokenizer.lossless else None,
        unknown=unknown_in(split, unknown, lengths),
        documents=tokenizer.end_of_text if config.training.order == "documents" else None,
        precision=precision,
    )


class _Training:
    """One training: everything that `train` receives, built from the config."""

    def __init__(
        self,
        config: RunConfig,
        data: PreparedData,
        world: World,
        device: torch.device,
        say: Say,
    ) -> None:
        self.config, self.data = config, data
        self.world, self.device, self.say = world, device, say
        self.validation = data.shards.split("validation")
        self.floor = known_floor(config.corpus.sources, self.validation)
        self.precision = dtype_of(config.training.precision)
        self.batches = Batches(
            data.shards.split("train"),
            config.model.context_length,
            config.training.batch_size,
            seed=config.training.seed,
            order=config.training.order,
            stride=config.training.stride,
            end_of_text=data.tokenizer.end_of_text,
            world=world,
        )
        self._check_prompts()
        seed_everything(config.training.seed)
        self.model = GPT(config.model).to(device)

    @functools.cached_property
    def compressed(self) -> float | None:
        """What a compressor needs for the held-out text; None for a grammar, whose lowest loss is known."""
        return None if self.floor else compressed_held_out(self.data)

    def describe(self, directory: RunDirectory) -> None:
        """Write what describes the run before its first update."""
        files.write_text(directory.config, configs.to_toml(self.config))
        self.data.tokenizer.save(directory.tokenizer)
        floor = dataclasses.asdict(self.floor) if self.floor else None
        lineage = first_lineage(
            self.data.shards,
            self.data.tokenizer,
            sources=[
                {"name": source.name, "fingerprint": source.fingerprint} for source in self.data.sources
            ],
            parameters=self.model.num_parameters(),
            floor=floor,
            compressed=self.compressed,
        )
        write_lineage(directory, lineage)

    def run(self, claim: Claim, listeners: Sequence[Listener], track: Sequence[str]) -> Outcome:
        """Train from the newest checkpoint, or from the beginning, and leave a complete run directory."""
        on_cpu = self.device.type == "cpu"
        work = Work(
            config=self.config.training,
            model=self.model,
            shape=self.config.model,
            batches=self.batches if on_cpu else Ahead(self.batches, pin=self.device.type == "cuda"),
            evaluate=self.evaluate,
            sample=self.sample,
            prompts=self.config.samples.prompts,
            floor=self.floor.loss if self.floor else None,
            finish=self._finish,
        )
        return carry_out(work, Place(self.device, self.world, self.say), claim, listeners, track)

    def evaluate(self) -> Evaluation:
        """Measure the loss on the fixed validation windows."""
        return measure_split(
            self.model,
            self.data.tokenizer,
            self.config,
            self.validation,
            max_tokens=self.config.training.evaluate_tokens,
            precision=self.precision,
        )

    def sample(self, _step: int) -> list[str]:
        """Continue each of the prompts of the config."""
        samples, documents = self.config.samples, self._knows_documents
        settings = GenerationConfig(
            temperature=samples.temperature,
            top_k=samples.top_k,
            max_tokens=samples.max_tokens,
            seed=samples.seed,
        )
        times = self.config.training.steps // max(1, self.config.training.sampling_interval)
        return complete(
            self.model,
            self.data.tokenizer,
            samples.prompts,
            settings,
            documents=documents,
            engine=steady_for(times * len(samples.prompts) * samples.max_tokens),
        )

    @property
    def _knows_documents(self) -> bool:
        return sum(facts["documents"] for facts in self.data.shards.manifest["splits"].values()) > 1

    def _check_prompts(self) -> None:
        """Report sample prompts that are longer than the context, and refuse characters that have no id."""
        if self.config.training.sample_every == 0:
            return
        for number, prompt in enumerate(self.config.samples.prompts, start=1):
            ids = prompt_ids(self.data.tokenizer, prompt, documents=self._knows_documents)
            what = f"Prompt {number} of the samples"
            if unseen := unseen_part(what, len(ids), self.config.model.context_length):
                self.say(unseen)

    def _finish(self, directory: RunDirectory, store: CheckpointStore, _finished: TrainingFinished) -> None:
        """Put the final weights in their place."""
        folder = final_checkpoint(self.config.training, store)
        if folder is not None:
            publish_weights(directory, folder)
