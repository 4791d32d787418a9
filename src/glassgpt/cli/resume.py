"""`glassgpt resume`: continue a run from its newest complete checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from glassgpt.cli.main import INTERRUPTED
from glassgpt.errors import ConfigError, GlassGPTError

if TYPE_CHECKING:
    from glassgpt.runs.directory import RunDirectory


def resume(
    run: str | None = None,
    *,
    all_: Annotated[bool, Parameter(name="--all", negative=())] = False,
    sources: Annotated[tuple[str, ...], Parameter(name="--corpus.sources")] = (),
    track: tuple[str, ...] = (),
    device: str | None = None,
) -> int:
    """Resume a run that was stopped or killed; the result is the same as without the interruption.

    Args:
        run: A run's name or path, or latest.
        all_: Resume every run that is not finished, one after another.
        sources: Where the run's own text or records are now, if they were moved; they must be the same.
        track: Also send metrics to: tensorboard, wandb.
        device: auto, cpu, cuda or mps; by default where the run began.
    """
    if not all_:
        return _resume_one(run or "latest", sources, track, device)
    if run is not None or sources:
        what = "RUN" if run is not None else "--corpus.sources"
        raise ConfigError(f"{what} has no effect with --all. Leave out one of the two.")
    return _resume_all(track, device)


def _resume_all(track: tuple[str, ...], device: str | None) -> int:
    """Resume what is not finished. A run that fails is named at the end, and does not keep the others waiting."""
    from glassgpt.cli.terminal import make_console, shown
    from glassgpt.runs.directory import list_runs
    from glassgpt.runs.keeping import is_unfinished
    from glassgpt.runs.summary import summarize

    console, failures = make_console(lasting=True, soft_wrap=True), {}
    unfinished = [run for run in list_runs() if is_unfinished(run, summarize(run).state)]
    for number, run in enumerate(unfinished, start=1):
        console.print(f"[bold]{number}/{len(unfinished)}  {shown(run.name)}[/]")
        try:
            if _resume(str(run.path), run, (), track, device) == INTERRUPTED:
                return INTERRUPTED
        except GlassGPTError as error:
            failures[run.name] = error
            console.print(f"[red]failed[/]: {shown(error)}")
    console.print(f"{len(unfinished) - len(failures)} of {len(unfinished)} unfinished runs are finished now.")
    for name, error in failures.items():
        console.print(f"  {shown(name)}: {shown(error)}")
    return 1 if failures else 0


def _resume_one(run: str, sources: tuple[str, ...], track: tuple[str, ...], device: str | None) -> int:
    """Resume a run, and say so where nothing was left to train."""
    from glassgpt.commands import command
    from glassgpt.errors import RunError
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.keeping import OVER
    from glassgpt.runs.summary import summarize

    directory = find_run(run)
    before = summarize(directory)
    if before.state == "imported":
        raise RunError(
            f"{directory.name} was imported, so there is no training to resume. Let it write:  "
            + command("generate", directory.handle)
        )
    status = _resume(run, directory, sources, track, device)
    if before.state in OVER and status == 0:
        _say_finished(directory)
    return status


def _resume(
    run: str,
    directory: RunDirectory,
    sources: tuple[str, ...],
    track: tuple[str, ...],
    device: str | None,
) -> int:
    from glassgpt.cli.session import show_finetuning, show_training

    if directory.finetune.is_file():
        from glassgpt.finetuning.run import resume_finetuning

        return show_finetuning(
            lambda say, listeners: resume_finetuning(
                run, sources=sources, say=say, listeners=listeners, track=track, on=device
            )
        )
    from glassgpt.pretraining.run import resume_run

    return show_training(
        lambda say, listeners: resume_run(
            run, sources=sources, say=say, listeners=listeners, track=track, on=device
        )
    )


def _say_finished(run: RunDirectory) -> None:
    """Say that nothing was left to train, and how to train for longer."""
    from glassgpt.cli.terminal import make_console, say
    from glassgpt.runs.longer import longer

    console = make_console(lasting=True)
    say(console, f"{run.name} had finished before: nothing was left to train.")
    if again := longer(run):
        limit, line = again
        say(console, f"To train for longer, begin a new run with twice the {limit}:\n\n  {line}\n")
