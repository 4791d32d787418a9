"""`glassgpt train`: from sources and a recipe to a run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, ArgumentCollection, Parameter

from glassgpt import config as configs
from glassgpt.cli.given import Given, fill_in, names_given
from glassgpt.cli.helping import Help
from glassgpt.corpus.sources import refuse_idle_field, refuse_missing
from glassgpt.errors import ConfigError
from glassgpt.idle import OnlyWith, refuse_idle
from glassgpt.model.presets import get_preset
from glassgpt.pretraining.recipes import DEFAULT, read_recipe, recipe_values, refuse_idle_recipe
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import refuse_taken

USUAL = (
    "--model.n-layer",
    "--model.n-embd",
    "--model.context-length",
    "--training.steps",
    "--training.batch-size",
    "--training.learning-rate",
    "--training.device",
)
"""The settings that most people need; help lists them first."""


def from_recipe(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from the recipe every setting that the command line leaves open."""
    given = {argument.name: argument.tokens[0].value for argument in arguments if argument.tokens}
    recipe = given.get("--recipe") or (None if "SOURCES" in given or "--corpus.sources" in given else DEFAULT)
    values = recipe_values(recipe, given.get("--preset"))
    if recipe == DEFAULT and "--recipe" not in given and "--preset" in given:
        values["model"] = configs.to_dict(
            get_preset(given["--preset"])
        )  # chosen by the user, unlike this recipe's
    values["given"] = names_given(arguments)
    fill_in(app, commands, arguments, values, source=f"recipe {recipe}")


app = App(
    name="train",
    help="Train a model on text you own, or on the built-in stories.",
    help_epilogue="Settings: defaults < --preset < --recipe < the plan for --minutes < the options given here.",
    config=from_recipe,
    help_formatter=Help(USUAL),
)


@app.default
def train(
    *sources: str,
    minutes: float | None = None,
    recipe: Annotated[str | None, Parameter(name=["--recipe", "--config"])] = None,
    preset: str | None = None,
    name: str | None = None,
    track: tuple[str, ...] = (),
    text_field: str | None = None,
    config: Annotated[RunConfig, Parameter(name="*")] = RunConfig(),  # noqa: B008 - frozen
    given: Given = (),
) -> int:
    """Train a model on text you own, or on the built-in stories when no source is named.

    Settings: built-in defaults < --preset < --recipe < the plan for --minutes < the options given here.

    Args:
        sources: Files, folders, globs, builtin:name, hf:owner/name[:split][#column], or a known corpus.
        minutes: Minutes for everything: the best model for this text, machine and time is planned, and training ends
            in time. A model from --recipe or --preset is kept.
        recipe: A recipe by name, or a TOML file such as a run's config.toml.
        preset: Shape of the model by name; `glassgpt model --help` names them.
        name: Name of the run; by default made from the source's name.
        track: Also send metrics to: tensorboard, wandb.
        text_field: The field of .jsonl, .json, .csv and .parquet records that holds the text.
        given: Settings that the command line names, which a plan leaves as they are.
    """
    began = time.perf_counter()
    plans = minutes is not None and not recipe and not preset
    config = checked(config, given, sources, text_field, recipe, preset, plans=plans)
    if name is not None:
        refuse_taken(name)  # before any time is spent on a plan
    deadline = None
    if minutes is not None:
        deadline = began + 60 * minutes
        if plans:
            config = planned(config, minutes, given)
            refuse_idle(config, given)
    from glassgpt.cli.session import show_training
    from glassgpt.pretraining.run import start_run

    return show_training(
        lambda say, listeners: start_run(
            config, name=name, say=say, listeners=listeners, track=track, deadline=deadline
        )
    )


def checked(
    config: RunConfig,
    given: Sequence[str],
    sources: Sequence[str],
    text_field: str | None,
    recipe: str | None,
    preset: str | None,
    *,
    plans: bool,
) -> RunConfig:
    """Return the config with the text of the command line. Raises `ConfigError` for settings that nothing reads.

    `plans` says that a plan will decide what the command line leaves open.
    """
    _refuse_double(given, sources, recipe, preset)
    corpus = dataclasses.replace(
        config.corpus,
        sources=tuple(sources) or config.corpus.sources,
        text_field=config.corpus.text_field if text_field is None else text_field,
    )
    config = dataclasses.replace(config, corpus=corpus)
    refuse_missing(config.corpus.sources)  # before torch is imported, which takes seconds
    if {"text_field", "corpus.text_field"} & {*given}:
        refuse_idle_field(config.corpus.sources)
    refuse_idle(config, given, decided=given if plans else None)
    if recipe:
        refuse_idle_recipe(recipe, preset, config)
    return config


TWICE = (
    OnlyWith(("corpus.sources",), "SOURCES", ((),)),
    OnlyWith(("corpus.text_field",), "text_field", (None,)),
)


def _refuse_double(
    given: Sequence[str], sources: Sequence[str], recipe: str | None, preset: str | None
) -> None:
    """Raise `ConfigError` when one given option replaces another."""
    said = {"SOURCES": tuple(sources), "text_field": "NAME" if "text_field" in given else None}
    refuse_idle(said, given, TWICE)
    if recipe and preset:
        values = read_recipe(recipe)
        if values == configs.merge({"model": configs.to_dict(get_preset(preset))}, values):
            raise ConfigError(
                f"--preset {preset} has no effect with --recipe {recipe}, which names every part of the model. Leave "
                "out one of the two."
            )


def planned(config: RunConfig, minutes: float, given: Sequence[str]) -> RunConfig:
    """Return the config of the plan for a number of minutes, overridden by the settings that were `given`."""
    from glassgpt.cli.plan import plan_minutes, show
    from glassgpt.cli.terminal import make_console

    console = make_console(lasting=True)
    optimizer = config.training.optimizer if "training.optimizer" in given else "muon"
    plan = plan_minutes(config, minutes, console, optimizer=optimizer)
    show(plan, console)
    values, own = configs.to_dict(plan.config), configs.to_dict(config)
    for setting in given:
        section, _, key = setting.partition(".")
        if key in own.get(section, {}):
            values[section][key] = own[section][key]
    return configs.from_dict(RunConfig, values, origin="the plan")
