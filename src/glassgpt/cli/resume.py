"""`glassgpt resume`: continue a run from its newest complete checkpoint."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def resume(
    run: str = "latest",
    *,
    sources: Annotated[tuple[str, ...], Parameter(name="--corpus.sources")] = (),
    track: tuple[str, ...] = (),
) -> int:
    """Resume a run that was stopped or killed; the result is the same as without the interruption.

    Args:
        run: A run's name or path, or latest.
        sources: Where the run's own text or records are now, if they were moved; they must be the same.
        track: Also send metrics to: tensorboard, wandb.
    """
    from glassgpt.cli.session import show_finetuning, show_training
    from glassgpt.runs.directory import find_run

    if find_run(run).finetune.is_file():
        from glassgpt.finetuning.run import resume_finetuning

        return show_finetuning(
            lambda say, listeners: resume_finetuning(
                run, sources=sources, say=say, listeners=listeners, track=track
            )
        )
    from glassgpt.pretraining.run import resume_run

    return show_training(
        lambda say, listeners: resume_run(run, sources=sources, say=say, listeners=listeners, track=track)
    )
