"""Many trainings that differ in a few settings: all checked first, then one after another or a few side by side.

Each is an ordinary run under a name that says its settings, so a sweep is resumed as its runs are: finished ones are
skipped, unfinished ones continue from their newest checkpoint. A run that fails does not end the sweep.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import msgspec

from glassgpt import config as configs
from glassgpt import files
from glassgpt.corpus.sources import open_sources
from glassgpt.device import available_cores, pick_device
from glassgpt.errors import ConfigError, GlassGPTError, MemoryFullError, RunError
from glassgpt.machine.facts import free_memory
from glassgpt.model.summary import byte_size
from glassgpt.pretraining.run import resume_run, start_run
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory, plain_name, refuse_impossible, refuse_taken, runs_folder
from glassgpt.runs.keeping import is_unfinished
from glassgpt.runs.places import absolute
from glassgpt.runs.summary import flat, summarize
from glassgpt.runs.sweeps import Result, Sweep, Trial, read_sweep, sweep_file, write_sweep
from glassgpt.training.events import Event
from glassgpt.training.fits import needed, refuse_what_does_not_fit
from glassgpt.training.interrupt import graceful_stop

SEED = "training.seed"
LOOK_SECONDS = 0.2
"""How often a sweep looks for a signal while runs are trained in other processes."""
Swept = Mapping[str, Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Listening:
    """Who hears of a sweep: of the events of the run that is being trained, and of each run that ended."""

    event: Callable[[Trial, Event], None] = lambda *_: None
    ended: Callable[[Result], None] = lambda _: None


def values_of(setting: str, text: str) -> list[Any]:
    """Return the values of a setting that are separated by commas. Raises `ConfigError` for one of a wrong type."""
    section, _, key = setting.partition(".")
    kind = configs.types_of(configs.types_of(RunConfig)[section])[key]
    try:
        found = [msgspec.convert(part.strip(), kind, strict=False) for part in text.split(",")]
    except msgspec.ValidationError as error:
        raise ConfigError(f"{setting}={text}: {error}. Separate values by commas.") from error
    return list(dict.fromkeys(found))


def trials_of(name: str, swept: Swept, seeds: Sequence[int]) -> list[Trial]:
    """Return the runs of a sweep: every combination of values, each with every seed."""
    axes = {**{key: values for key, values in swept.items() if key != SEED}, SEED: seeds}
    found = []
    for values in itertools.product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        said = [f"{key.rpartition('.')[2]}={_word(value)}" for key, value in settings.items()]
        found.append(Trial("-".join([name, *said]), settings))
    return found


def _word(value: Any) -> str:
    return plain_name(f"{value:g}" if isinstance(value, float) else str(value))


def config_of(base: Mapping[str, Any], trial: Trial) -> RunConfig:
    """Return the config of a run. Raises `ConfigError` when its values do not fit together."""
    values: dict[str, Any] = dict(base)
    for setting, value in trial.settings.items():
        section, _, key = setting.partition(".")
        values = configs.merge(values, {section: {key: value}})
    said = " ".join(f"{setting}={value}" for setting, value in trial.settings.items())
    return configs.from_dict(RunConfig, values, origin=said)


def begin(
    name: str,
    config: RunConfig,
    trials: Sequence[Trial],
    minutes: float | None,
    plan: Callable[[], RunConfig],
) -> Sweep:
    """Write down a sweep, or return the one that this continues, with further runs if further values are asked for.

    `plan` returns the config with the plan for the minutes; a sweep that is continued keeps its plan. Raises
    `RunError` when the name belongs to another sweep or to other runs. Nothing is written before all is checked.
    """
    refuse_impossible(name)
    sources = absolute(config.corpus.sources)
    config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, sources=sources))
    asked = flat(configs.to_dict(config))
    for trial in trials[:1]:
        asked = {key: value for key, value in asked.items() if key not in trial.settings}
    if sweep_file(name).exists():
        earlier = read_sweep(name)
        _refuse_other(earlier, asked, trials, minutes)
        known = {trial.name for trial in earlier.trials}
        more = [trial for trial in trials if trial.name not in known]
        sweep = Sweep(name, asked, earlier.base, minutes, [*earlier.trials, *more])
    else:
        more = list(trials)
        for trial in trials:
            config_of(configs.to_dict(config), trial)  # refused before any time is spent on a plan
        base = configs.to_dict(plan())
        base["corpus"]["sources"] = list(sources)
        sweep = Sweep(name, asked, base, minutes, more)
    for trial in more:
        refuse_taken(trial.name)
        config_of(sweep.base, trial)
    return sweep


def _refuse_other(
    earlier: Sweep, asked: Mapping[str, Any], trials: Sequence[Trial], minutes: float | None
) -> None:
    before, now = {**earlier.asked, "minutes": earlier.minutes}, {**asked, "minutes": minutes}
    other = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if not other and [*earlier.trials[0].settings] == [*trials[0].settings]:
        return
    what = f"with other settings ({', '.join(other[:3])})" if other else "over other settings"
    raise RunError(
        f"{sweep_file(earlier.name)} is a sweep {what}. Give this one another --name, or repeat the command that began "
        "that one to continue it."
    )


def refuse_impossible_trials(sweep: Sweep, side_by_side: int) -> None:
    """Raise an error when the text is not there, or a run needs more memory than is free, also `side_by_side`."""
    found = [config_of(sweep.base, trial) for trial in sweep.trials]
    open_sources(found[0].corpus.sources, text_field=found[0].corpus.text_field)
    cores = available_cores()
    if not 1 <= side_by_side <= cores:
        raise ConfigError(f"--side-by-side must be from 1 to {cores}, the number of cores here.")
    for config in found:
        device, rows = pick_device(config.training.device), config.training.batch_size
        smallest = dataclasses.replace(config.model, vocab_size=1)  # the text decides the vocabulary
        refuse_what_does_not_fit(smallest, config.training, device, rows=rows)
        need = side_by_side * needed(smallest, config.training, device, rows=rows).total
        if need > free_memory(device):
            raise MemoryFullError(
                f"{side_by_side} runs side by side need about {byte_size(need)} of memory, and "
                f"{byte_size(free_memory(device))} are free. Use a smaller --side-by-side."
            )


def run_sweep(sweep: Sweep, *, side_by_side: int = 1, listening: Listening = Listening()) -> list[Result]:
    """Train every run of a sweep that is not finished yet; return what came of each.

    Ends early, with fewer results, when a signal stops a run.
    """
    write_sweep(sweep)
    if side_by_side > 1:
        return _side_by_side(sweep, side_by_side, listening)
    results: list[Result] = []
    for trial in sweep.trials:
        result, stopped = _train(sweep, trial, listening)
        if stopped:
            break
        results.append(result)
        listening.ended(result)
    return results


def _train(sweep: Sweep, trial: Trial, listening: Listening) -> tuple[Result, bool]:
    """Train one run in this process; return its result, and whether a signal stopped it."""
    run, listeners = RunDirectory(runs_folder() / trial.name), [lambda event: listening.event(trial, event)]
    try:
        if not run.config.exists():
            deadline = time.perf_counter() + 60 * sweep.minutes if sweep.minutes else None
            config = config_of(sweep.base, trial)
            outcome = start_run(config, name=trial.name, listeners=listeners, deadline=deadline)
        elif is_unfinished(run, summarize(run).state):
            outcome = resume_run(str(run.path), listeners=listeners)
        else:
            return _result(trial), False
    except GlassGPTError as error:
        return Result(trial, None, str(error)), False
    return _result(trial), outcome.finished.reason == "interrupted"


def _result(trial: Trial) -> Result:
    summary = summarize(RunDirectory(runs_folder() / trial.name))
    damaged = summary.state if summary.state.startswith("damaged") else ""
    return Result(trial, None if damaged else summary, damaged)


def _side_by_side(sweep: Sweep, count: int, listening: Listening) -> list[Result]:
    """Train the runs in separate processes, `count` at a time, each with its share of the cores.

    Only this process gets the signals of the terminal. The others stop, with everything saved, when it closes the
    pipe that they read, or when it dies (`cli.tied`).
    """
    results: list[Result] = []
    pipe, to_close = os.pipe()
    with (
        graceful_stop() as stop,
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(count) as pool,
    ):
        try:
            work = [
                pool.submit(_train_apart, sweep, trial, Path(folder), count, pipe) for trial in sweep.trials
            ]
            for future in work:
                while not stop and not wait([future], timeout=LOOK_SECONDS).done:
                    pass
                if stop:
                    break
                results.append(future.result())
                listening.ended(results[-1])
        finally:
            os.close(to_close)
            pool.shutdown(cancel_futures=True)
            os.close(pipe)
    return results


def _train_apart(sweep: Sweep, trial: Trial, folder: Path, count: int, pipe: int) -> Result:
    run = RunDirectory(runs_folder() / trial.name)
    if run.config.exists():
        if not is_unfinished(run, summarize(run).state):
            return _result(trial)
        words = ["resume", str(run.path)]
    else:
        config = config_of(sweep.base, trial)
        threads = config.training.threads or max(1, available_cores() // count)
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, threads=threads))
        recipe = folder / f"{len(list(folder.iterdir()))}-{files.hash_text(trial.name)[:12]}.toml"
        files.write_text(recipe, configs.to_toml(config))
        words = ["train", "--config", str(recipe), "--name", trial.name]
        words += ["--minutes", f"{sweep.minutes:g}"] if sweep.minutes else []
    ended = subprocess.run(
        [sys.executable, "-m", "glassgpt.cli.tied", str(pipe), *words],
        capture_output=True,
        text=True,
        check=False,
        pass_fds=(pipe,),
        start_new_session=True,
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"its process ended with status {ended.returncode}"]
        return Result(trial, None, lines[-1].removeprefix("Error: "))
    return _result(trial)
