"""`glassgpt resume`: go on with a run from its newest whole checkpoint."""

from __future__ import annotations


def resume(run: str = "latest", *, track: tuple[str, ...] = ()) -> int:
    """Go on with a run that was stopped or killed; the result is the same as if it never had been.

    Args:
        run: A run's name or path, or latest.
        track: Also send metrics to: tensorboard, wandb.
    """
    from glassgpt.cli.session import show_finetuning, show_training
    from glassgpt.runs.directory import find_run

    if find_run(run).finetune.is_file():
        from glassgpt.finetuning.run import resume_finetuning

        return show_finetuning(
            lambda say, listeners: resume_finetuning(run, say=say, listeners=listeners, track=track)
        )
    from glassgpt.pretraining.run import resume_run

    return show_training(lambda say, listeners: resume_run(run, say=say, listeners=listeners, track=track))
