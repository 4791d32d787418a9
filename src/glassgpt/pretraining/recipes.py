"""Recipes: whole runs as TOML files, found by name or path; the command line overrides their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glassgpt import config as configs
from glassgpt.corpus.sources import refuse_idle_field
from glassgpt.errors import ConfigError, RunError, did_you_mean
from glassgpt.idle import idle, value_of
from glassgpt.model.presets import get_preset
from glassgpt.pretraining.places import find_text
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.reading import read_config

DEFAULT = "tinytales"
CAME_LATER = 0.1
"""Share of all settings that a file may lack and still be one that a run or a plan wrote."""


def recipes_folder() -> Path:
    """Return the folder of the recipes that come with GlassGPT, installed or in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with GlassGPT."""
    return sorted(path.stem for path in recipes_folder().glob("*.toml"))


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, by name or by path. Raises `ConfigError`, which suggests a similar name."""
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

    For the `config.toml` of a run, the text is looked up where it is now, and the run's tokenizer is used.
    """
    path = find_recipe(name)
    run = RunDirectory(path.parent)
    if path.name == run.config.name and run.lineage.exists():
        return configs.to_dict(_found(run))
    values = configs.read_toml(path)
    configs.from_dict(RunConfig, values, origin=str(path))
    return values


def recipe_values(recipe: str | None, preset: str | None) -> dict[str, Any]:
    """Return the values that the command line overrides: the preset's model, and the recipe over it."""
    values = read_recipe(recipe) if recipe else {}
    return configs.merge({"model": configs.to_dict(get_preset(preset))}, values) if preset else values


def refuse_idle_recipe(recipe: str, preset: str | None, config: RunConfig) -> None:
    """Raise `ConfigError` for a setting of a recipe that nothing reads, in the recipe alone and in the whole `config`.

    The command line may override values of a recipe and so make others idle; those are allowed. A setting equal to
    its default is allowed too, and so is a file that names every setting, as runs and plans write it: it is not a
    list of wishes. One that an earlier version wrote lacks only the settings that came later.
    """
    values = read_recipe(recipe)
    every = _settings(configs.to_dict(configs.from_dict(RunConfig, values, origin=recipe)))
    if len(every - _settings(values)) <= CAME_LATER * len(every):
        return
    alone = configs.from_dict(RunConfig, recipe_values(recipe, preset), origin=recipe)
    idle_at_last, usual = {found.setting for found in idle(config)}, RunConfig()
    for found in idle(alone):
        section, _, key = found.setting.partition(".")
        if key not in values.get(section, {}) or found.setting not in idle_at_last:
            continue
        if value_of(alone, found.setting) != value_of(usual, found.setting):
            raise ConfigError(f"{recipe}: {found.message(str)}")
    corpus = values.get("corpus", {})
    sources = config.corpus.sources
    if "text_field" in corpus and list(corpus.get("sources", sources)) == list(sources):
        refuse_idle_field(sources, f"{recipe}: corpus.text_field")


def _settings(values: dict[str, Any], section: str = "") -> set[str]:
    """Return the names of all settings, with their sections."""
    found: set[str] = set()
    for key, value in values.items():
        found |= _settings(value, f"{section}{key}.") if isinstance(value, dict) else {section + key}
    return found


def _found(run: RunDirectory) -> RunConfig:
    config = read_config(run)
    try:
        return find_text(run, config)
    except RunError:  # the command line may name another text; if not, the missing one is reported later
        return config
