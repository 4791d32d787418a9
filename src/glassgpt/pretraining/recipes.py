"""Recipes: whole runs as TOML files, found by name or path, under the values given on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glassgpt import config as configs
from glassgpt.errors import ConfigError, RunError, did_you_mean
from glassgpt.pretraining.places import find_text
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import read_config

DEFAULT = "tinytales"


def recipes_folder() -> Path:
    """Return the folder of the recipes that come with GlassGPT, installed or in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with GlassGPT."""
    return sorted(path.stem for path in recipes_folder().glob("*.toml"))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, by name or by path. Raises `ConfigError` naming what is near."""
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    known = recipe_names()
    if name in known:
        return recipes_folder() / f"{name}.toml"
    if path.suffix == ".toml" or "/" in name:
        raise ConfigError(
            f"There is no recipe file {name}. Recipes that come with GlassGPT: {', '.join(known)}."
        )
    hint = did_you_mean(name, known) or f" There are: {', '.join(known)}."
    raise ConfigError(f"There is no recipe called {name!r}.{hint}")


def read_recipe(name: str) -> dict[str, Any]:
    """Return a recipe's values, every key checked against `RunConfig`.

    The `config.toml` of a run counts with its text where that is now, and with the run's own tokenizer.
    """
    path = find_recipe(name)
    run = RunDirectory(path.parent)
    if path.name == run.config.name and run.lineage.exists():
        return configs.to_dict(_found(run))
    values = configs.read_toml(path)
    configs.from_dict(RunConfig, values, origin=str(path))
    return values


def _found(run: RunDirectory) -> RunConfig:
    config = read_config(run)
    try:
        return find_text(run, config)
    except (
        RunError
    ):  # another text may be named on the command line; if none is, the missing one is named then
        return config
