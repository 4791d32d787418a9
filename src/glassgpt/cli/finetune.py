"""`glassgpt finetune KIND RUN DATA`: from a base run to one that classifies, answers, or prefers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from glassgpt import config as configs
from glassgpt.finetuning.config import (
    KINDS,
    ClassifyConfig,
    DistillConfig,
    DPOConfig,
    FineTuneConfig,
    GRPOConfig,
    SFTConfig,
)


def _fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in the kind's own defaults for every setting that the command line leaves open, and note which it names.

    Without this, naming one setting of a section would put the section's general defaults in place of the kind's.
    """
    given = [argument.name for argument in arguments if argument.tokens]
    explicit = [name.removeprefix("--").replace("-", "_") for name in given if "." in name]
    kind = KINDS.get(commands[-1])
    values: dict = {**(configs.to_dict(kind()) if kind else {}), "given": explicit}
    for command in reversed(commands):
        values = {command: values}
    Dict(values, source="the defaults")(app, commands, arguments)


app = App(
    name="finetune",
    help="Fine-tune a run: classify, sft, dpo, grpo or distill. `glassgpt finetune KIND --help` shows each one's.",
    config=_fill_in,
)

Given = Annotated[tuple[str, ...], Parameter(show=False)]
Minutes = float | None


@app.command
def sft(
    run: str,
    *data: str,
    name: str | None = None,
    minutes: Minutes = None,
    track: tuple[str, ...] = (),
    config: Annotated[SFTConfig, Parameter(name="*")] = SFTConfig(),  # noqa: B008 - frozen
    given: Given = (),
) -> int:
    """Learn to answer from instructions or conversations. Then `glassgpt chat` really chats.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records: Alpaca, messages, ShareGPT, prompt and completion (.json, .jsonl, .csv, .parquet).
        name: Name of the new run; by default made from the base's.
        minutes: Finish after so many minutes, all included.
        track: Also send metrics to: tensorboard, wandb.
        given: Settings that the command line names.
    """
    return _finetune(run, data, config, name, minutes, track, given)


@app.command
def dpo(
    run: str,
    *data: str,
    name: str | None = None,
    minutes: Minutes = None,
    track: tuple[str, ...] = (),
    config: Annotated[DPOConfig, Parameter(name="*")] = DPOConfig(),  # noqa: B008 - frozen
    given: Given = (),
) -> int:
    """Learn to prefer the better of two answers. Begin from a run that can answer.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records with a prompt, chosen and rejected.
        name: Name of the new run; by default made from the base's.
        minutes: Finish after so many minutes, all included.
        track: Also send metrics to: tensorboard, wandb.
        given: Settings that the command line names.
    """
    return _finetune(run, data, config, name, minutes, track, given)


@app.command
def grpo(
    run: str,
    *data: str,
    name: str | None = None,
    minutes: Minutes = None,
    track: tuple[str, ...] = (),
    config: Annotated[GRPOConfig, Parameter(name="*")] = GRPOConfig(),  # noqa: B008 - frozen
    given: Given = (),
) -> int:
    """Learn from rewards that a function can verify: the model writes, is rewarded, and writes more of that.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records with prompts; without any the model writes from nothing, as in pretraining.
        name: Name of the new run; by default made from the base's.
        minutes: Finish after so many minutes, all included.
        track: Also send metrics to: tensorboard, wandb.
        given: Settings that the command line names.
    """
    return _finetune(run, data, config, name, minutes, track, given)


@app.command
def classify(
    run: str,
    *data: str,
    name: str | None = None,
    minutes: Minutes = None,
    track: tuple[str, ...] = (),
    config: Annotated[ClassifyConfig, Parameter(name="*")] = ClassifyConfig(),  # noqa: B008 - frozen
    given: Given = (),
) -> int:
    """Learn to tell labels apart. Then `glassgpt classify RUN TEXT` says which one a text has.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records with a text and a label, or a folder with a folder of .txt files for each label.
        name: Name of the new run; by default made from the base's.
        minutes: Finish after so many minutes, all included.
        track: Also send metrics to: tensorboard, wandb.
        given: Settings that the command line names.
    """
    return _finetune(run, data, config, name, minutes, track, given)


@app.command
def distill(
    run: str,
    *data: str,
    name: str | None = None,
    minutes: Minutes = None,
    track: tuple[str, ...] = (),
    config: Annotated[DistillConfig, Parameter(name="*")] = DistillConfig(),  # noqa: B008 - frozen
    given: Given = (),
) -> int:
    """Let a smaller model, the student, learn from a run, the teacher.

    Args:
        run: The teacher: a run's name or path, or latest.
        data: Text to learn on, as for `glassgpt train`; the teacher's own when left out.
        name: Name of the student's run; by default made from the teacher's.
        minutes: Finish after so many minutes, all included.
        track: Also send metrics to: tensorboard, wandb.
        given: Settings that the command line names.
    """
    return _finetune(run, data, config, name, minutes, track, given)


def _finetune(
    run: str,
    data: Sequence[str],
    config: FineTuneConfig,
    name: str | None,
    minutes: float | None,
    track: Sequence[str],
    given: Sequence[str],
) -> int:
    from glassgpt.cli.session import show_finetuning
    from glassgpt.finetuning.run import start_finetuning

    return show_finetuning(
        lambda say, listeners: start_finetuning(
            run,
            data,
            config,
            name=name,
            given=given,
            minutes=minutes,
            say=say,
            listeners=listeners,
            track=track,
        )
    )
