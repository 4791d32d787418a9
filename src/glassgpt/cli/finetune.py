"""`glassgpt finetune KIND RUN DATA`: from a base run to one that classifies, answers or prefers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from glassgpt.cli.given import Given, note_given
from glassgpt.finetuning.config import (
    ClassifyConfig,
    DistillConfig,
    DPOConfig,
    FineTuneConfig,
    GRPOConfig,
    SFTConfig,
    without_usual_passes,
)
from glassgpt.idle import OnlyWith, refuse_idle


def _from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from `--config` every setting that the command line leaves open."""
    file = next((each.tokens[0].value for each in arguments if each.name == "--config" and each.tokens), None)
    if file is None:
        return
    from glassgpt.finetuning.choice import settings_from

    values = settings_from(file, commands[-1])
    for command in reversed(commands):
        values = {command: values}
    Dict(values, source=file)(app, commands, arguments)


app = App(
    name="finetune",
    help="Fine-tune a run: classify, sft, dpo, grpo or distill.",
    config=(note_given, _from_file),
)


@dataclass(frozen=True)
class Options:
    """Options that all kinds share, beside each kind's settings."""

    name: str | None = None
    """Name of the new run; by default made from the base's name."""
    minutes: float | None = None
    """Minutes for everything; training finishes in time."""
    track: tuple[str, ...] = ()
    """Also send metrics to: tensorboard, wandb."""
    config: str | None = None
    """The finetune.toml of a run of this kind: each setting that is not given here is taken from it."""
    given: Given = ()
    """Settings that the command line names."""


FROM_NOTHING = (OnlyWith(("validation", "split_by", "too_long"), "DATA", test=lambda said: said["DATA"]),)
"""Settings that grpo reads only with records."""
Common = Annotated[Options, Parameter(name="*")]


@app.command
def sft(
    run: str,
    *data: str,
    options: Common = Options(),
    config: Annotated[SFTConfig, Parameter(name="*")] = SFTConfig(),  # noqa: B008 - frozen
) -> int:
    """Learn to answer, from instructions or conversations. Then `glassgpt chat` holds a conversation.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records: Alpaca, messages, ShareGPT, prompt and completion (.json, .jsonl, .csv, .parquet).
    """
    return _finetune(run, data, config, options)


@app.command
def dpo(
    run: str,
    *data: str,
    options: Common = Options(),
    config: Annotated[DPOConfig, Parameter(name="*")] = DPOConfig(),  # noqa: B008 - frozen
) -> int:
    """Learn to prefer the better of two answers. Begin from a run that can answer.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records with a prompt, chosen and rejected.
    """
    return _finetune(run, data, config, options)


@app.command
def grpo(
    run: str,
    *data: str,
    options: Common = Options(),
    config: Annotated[GRPOConfig, Parameter(name="*")] = GRPOConfig(),  # noqa: B008 - frozen
) -> int:
    """Learn from rewards that a function computes: the model writes, is rewarded, and writes more of what was rewarded.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records with prompts; without files the model writes from an empty prompt, as in pretraining.
    """
    refuse_idle({"DATA": data}, options.given, FROM_NOTHING)
    return _finetune(run, data, config, options)


@app.command
def classify(
    run: str,
    *data: str,
    options: Common = Options(),
    config: Annotated[ClassifyConfig, Parameter(name="*")] = ClassifyConfig(),  # noqa: B008 - frozen
) -> int:
    """Learn to classify texts by label. Then `glassgpt classify RUN TEXT` prints the label of a text.

    Args:
        run: The base: a run's name or path, or latest.
        data: Files of records with a text and a label, or a folder with a folder of .txt files for each label.
    """
    return _finetune(run, data, config, options)


@app.command
def distill(
    run: str,
    *data: str,
    options: Common = Options(),
    config: Annotated[DistillConfig, Parameter(name="*")] = DistillConfig(),  # noqa: B008 - frozen
) -> int:
    """Train a smaller model, the student, to imitate a run, the teacher.

    Args:
        run: The teacher: a run's name or path, or latest.
        data: Text to learn from, as for `glassgpt train`; the teacher's own when left out.
    """
    if config.text_field is not None:
        from glassgpt.corpus.sources import refuse_idle_field
        from glassgpt.runs.directory import find_run
        from glassgpt.runs.reading import read_config

        refuse_idle_field(data or read_config(find_run(run)).corpus.sources)
    return _finetune(run, data, config, options)


def _finetune(run: str, data: Sequence[str], config: FineTuneConfig, options: Options) -> int:
    decided = options.given if options.config is None else (*options.given, "training.learning_rate")
    refuse_idle(without_usual_passes(config, options.given), options.given)
    from glassgpt.cli.session import show_finetuning
    from glassgpt.finetuning.run import start_finetuning

    return show_finetuning(
        lambda say, listeners: start_finetuning(
            run,
            data,
            config,
            name=options.name,
            given=decided,
            minutes=options.minutes,
            say=say,
            listeners=listeners,
            track=options.track,
        )
    )
