"""`glassgpt model`: show a model's parts and costs before training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, ArgumentCollection, Parameter
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

from glassgpt import config as configs
from glassgpt.cli.given import fill_in
from glassgpt.cli.helping import Help
from glassgpt.cli.terminal import make_console, print_table, shown
from glassgpt.cli.tokens import counted
from glassgpt.errors import ConfigError, MisplacedWordError, did_you_mean
from glassgpt.model.config import ModelConfig
from glassgpt.model.presets import PRESETS
from glassgpt.model.summary import (
    byte_size,
    count_parameters,
    flops_per_token,
    inference_bytes,
    rows,
    short_number,
    training_bytes,
)

DEFAULT = "nano"


def _from_preset(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in from the preset or run every setting that the command line leaves open."""
    named = {argument.name: argument.tokens[0].value for argument in arguments if argument.tokens}
    preset = named.get("PRESET", named.get("--preset", DEFAULT))
    values = {"model": configs.to_dict(_named(preset)[1])}
    fill_in(app, commands, arguments, values, source=preset)


app = App(
    name="model",
    help="Show a model's layers, shapes, parameters, cost and memory.",
    config=_from_preset,
    help_formatter=Help(
        ("--model.n-layer", "--model.n-embd", "--model.vocab-size", "--model.context-length")
    ),
)


@app.default
def model(
    preset: str = DEFAULT,
    *,
    batch_size: int = 16,
    config: Annotated[ModelConfig, Parameter(name="model", show_default=False)] = ModelConfig(),  # noqa: B008 - frozen
) -> None:
    """Show a model's layers, shapes and parameters, its FLOPs a token, and the memory it needs.

    Each setting of the model that is given replaces that of the preset or run.

    Args:
        preset: A model by name: nano, shakespeare-char, notebook, gpt2-small, gpt2-small-untied, gpt2-medium,
            gpt2-large or gpt2-xl. Or a run: its name or path, or latest.
        batch_size: Texts in one training step, for the estimate of its memory.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size = {batch_size}: a training step needs at least 1 text.")
    show(config, title=_named(preset)[0], batch_size=batch_size)


def _named(name: str) -> tuple[str, ModelConfig]:
    """Return a preset, or the model of a run, with its title."""
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.reading import read_config

    if name in PRESETS:
        return name, PRESETS[name]
    try:
        run = find_run(name)
    except MisplacedWordError as error:
        hint = did_you_mean(name, PRESETS).strip() or f"The presets are: {', '.join(PRESETS)}."
        raise MisplacedWordError(f"{error.fact[:-1]}, and no preset.", hint, words=error.words) from None
    return run.name, read_config(run).model


def show(config: ModelConfig, *, title: str, batch_size: int = 16, console: Console | None = None) -> None:
    """Print the tables of one config."""
    console = console or make_console()
    console.print(f"[bold]{shown(title)}[/bold]: {_parts(config)}")
    print_table(console, weights_table(config))
    print_table(console, costs_table(config, batch_size))


def weights_table(config: ModelConfig) -> Table:
    """Return one row for each kind of weight."""
    table = Table()
    table.add_column("weight")
    for heading in ("shape", "layers", "parameters"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows(config):
        shape = " x ".join(f"{size:,}" for size in row.shape)
        table.add_row(_Name(row.name), shape, str(row.count), f"{row.parameters:,}")
    table.add_section()
    table.add_row("all", "", "", f"{count_parameters(config):,}", style="bold")
    return table


@dataclass(frozen=True)
class _Name:
    """A name that a narrow column breaks after a dot or an underscore, and nowhere else."""

    name: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        line = ""
        for part in re.findall(r"[^._]*[._]?", self.name):
            if len(line + part) > options.max_width:
                yield Text(line)
                line = ""
            line += part
        yield Text(line)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(len, re.split(r"(?<=[._])", self.name))), len(self.name))


def costs_table(config: ModelConfig, batch_size: int) -> Table:
    """Return FLOPs and bytes, each with its parts."""
    train = training_bytes(config, batch_size=batch_size)
    infer = inference_bytes(config)
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_row("FLOPs a token, training", short_number(flops_per_token(config)), "forward and backward")
    forward = flops_per_token(config, training=False)
    table.add_row(
        "FLOPs a token, reading", short_number(forward), f"at {counted(config.context_length, 'token')}"
    )
    kept = f"weights {byte_size(train.weights)}, gradients {byte_size(train.gradients)}"
    spent = f"AdamW {byte_size(train.optimizer)}, activations about {byte_size(train.activations)}"
    batch = f"{counted(batch_size, 'text')} of {counted(config.context_length, 'token')}"
    table.add_row("memory, training", byte_size(train.total), f"{kept},\n{spent} for {batch}")
    held = f"weights {byte_size(infer.weights)}, cache of one text {byte_size(infer.cache)}"
    table.add_row("memory, generating", byte_size(infer.total), held)
    return table


def _parts(config: ModelConfig) -> str:
    groups = "" if config.kv_heads == config.n_head else f" over {counted(config.kv_heads, 'key/value head')}"
    shape = (
        f"{counted(config.n_layer, 'layer')}, {counted(config.n_head, 'head')}{groups}, {config.n_embd} wide"
    )
    parts = f"{config.positions} positions, {config.norm}, {config.activation}, {config.attention} attention"
    return f"{shape}; {parts}, {'tied' if config.tied_head else 'own'} head"
