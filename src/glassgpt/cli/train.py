"""`glassgpt train`: sources and a recipe to a run."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from glassgpt import config as configs
from glassgpt.model.presets import get_preset
from glassgpt.pretraining.recipes import DEFAULT, read_recipe
from glassgpt.runs.config import RunConfig


def recipe_values(recipe: str | None, preset: str | None) -> dict[str, Any]:
    """Return what lies under the command line: the preset's model, and the recipe over it."""
    values = read_recipe(recipe) if recipe else {}
    return configs.merge({"model": configs.to_dict(get_preset(preset))}, values) if preset else values


def _from_recipe(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from the recipe every setting that the command line leaves open."""
    given = {argument.name: argument.tokens[0].value for argument in arguments if argument.tokens}
    recipe = given.get("--recipe") or (None if "SOURCES" in given or "--corpus.sources" in given else DEFAULT)
    values = recipe_values(recipe, given.get("--preset"))
    if recipe == DEFAULT and "--recipe" not in given and "--preset" in given:
        values["model"] = configs.to_dict(get_preset(given["--preset"]))  # asked for, unlike this recipe's
    # Keyed by the command, because a flat Dict takes the sections that are named as commands are (model,
    # tokenizer) for those commands' settings and passes over them.
    for command in reversed(commands):
        values = {command: values}
    Dict(values, source=f"recipe {recipe}")(app, commands, arguments)


app = App(
    name="train",
    help="Train a model on text you own, or on the built-in stories.",
    help_epilogue="Settings: built-in defaults < --preset < --recipe < the options given here.",
    config=_from_recipe,
)


@app.default
def train(
    *sources: str,
    recipe: Annotated[str | None, Parameter(name=["--recipe", "--config"])] = None,  # noqa: ARG001
    preset: str | None = None,  # noqa: ARG001 - both are read by `_from_recipe`
    name: str | None = None,
    track: tuple[str, ...] = (),
    config: Annotated[RunConfig, Parameter(name="*")] = RunConfig(),  # noqa: B008 - frozen
) -> int:
    """Train a model on text you own, or on the built-in stories when no source is named.

    Settings: built-in defaults < --preset < --recipe < the options given here.

    Args:
        sources: Files, folders, globs, builtin:name, hf:owner/name[:split][#column], or a known corpus.
        recipe: A recipe by name, or a TOML file such as a run's config.toml.
        preset: Shape of the model by name; `glassgpt model --help` names them.
        name: Name of the run; by default made from the source.
        track: Also send metrics to: tensorboard, wandb.
    """
    from glassgpt.cli.session import show_training
    from glassgpt.pretraining.run import start_run

    if sources:
        config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, sources=sources))
    return show_training(
        lambda say, listeners: start_run(config, name=name, say=say, listeners=listeners, track=track)
    )
