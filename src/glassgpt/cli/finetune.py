"""`glassgpt finetune KIND RUN DATA`: from a base run to one that classifies, answers or prefers.

Each kind in `KINDS` is a command, those of installed packages too.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, ArgumentCollection, Group, Parameter

from glassgpt.cli.given import Given, fill_in, note_given
from glassgpt.cli.helping import Help
from glassgpt.corpus.sources import refuse_missing
from glassgpt.errors import ConfigError
from glassgpt.finetuning.config import KINDS, Kind, kind_name
from glassgpt.finetuning.settings import FineTuneConfig, without_usual_passes
from glassgpt.idle import refuse_idle
from glassgpt.runs.directory import find_run


def _from_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from `--config` every setting that the command line leaves open."""
    file = next((each.tokens[0].value for each in arguments if each.name == "--config" and each.tokens), None)
    if file is None:
        return
    from glassgpt.finetuning.choice import settings_from

    fill_in(app, commands, arguments, settings_from(file, commands[-1]), source=file)


app = App(
    name="finetune",
    help="Fine-tune a run: classify, sft, dpo, grpo or distill.",
    config=(note_given, _from_file),
    help_formatter=Help(
        (
            "--training.learning-rate",
            "--training.epochs",
            "--training.steps",
            "--training.batch-size",
            "--training.device",
            "--lora.rank",
        )
    ),
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


Common = Annotated[Options, Parameter(name="*")]
_COMMAND = "command of "


def _note_types(shape: type) -> None:
    """Write the types of all settings into the `__init__` of a config and of its sections.

    Cyclopts looks for the name of a type only in the module of the class, which need not import those of inherited
    settings.
    """
    types = typing.get_type_hints(shape, include_extras=True)
    for field in dataclasses.fields(shape):
        shape.__init__.__annotations__[field.name] = types[field.name]
        if dataclasses.is_dataclass(section := types[field.name]) and isinstance(section, type):
            _note_types(section)


def command_of(kind: Kind) -> Callable[..., int]:
    """Return the command of a kind."""
    _note_types(kind.config)

    def finetune(run: str, *data: str, options: Options = Options(), config: FineTuneConfig) -> int:
        kind.check(run, data, config, options.given)
        return _finetune(run, data, config, options)

    finetune.__doc__ = kind.help
    finetune.__kwdefaults__ = {"options": Options(), "config": kind.config()}
    finetune.__annotations__ = {
        "run": Annotated[str, Parameter(help=kind.run)],
        "data": Annotated[str, Parameter(help=kind.data)],
        "options": Common,
        "config": Annotated[kind.config, Parameter(name="*")],
        "return": int,
    }
    return finetune


def __getattr__(name: str) -> Callable[..., int]:
    """Return the command of a kind. It is made, and the kind's package imported, only when it is called."""
    if not name.startswith(_COMMAND):
        raise AttributeError(name)
    try:
        return command_of(KINDS[name.removeprefix(_COMMAND)])
    except ConfigError as error:
        return _refusing(error)


def _refusing(error: ConfigError) -> Callable[..., int]:
    """Return the command of a kind whose package is broken, so that a misspelled command still gets its message."""

    def finetune(*_words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]) -> int:
        raise error

    finetune.__doc__ = str(error)
    return finetune


@functools.cache
def _panel_of(package: str) -> Group:
    return Group(f"Commands of the package {package}")


def _add_command(name: str) -> None:
    package, place = KINDS.package(name), f"{__name__}:{_COMMAND}{name}"
    if package is None:
        app.command(place, name=name, help=KINDS[name].help)
    else:
        app.command(place, name=name, group=_panel_of(package))


for _name in KINDS:
    _add_command(_name)


def _finetune(run: str, data: Sequence[str], config: FineTuneConfig, options: Options) -> int:
    decided = options.given if options.config is None else (*options.given, "training.learning_rate")
    refuse_idle(without_usual_passes(config, options.given), options.given)
    find_run(run)  # before torch is imported: it takes seconds
    if KINDS.package(kind_name(config)) is None:  # what other packages read is theirs to say
        refuse_missing(data, corpora=kind_name(config) == "distill")
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
