"""`glassgpt plan`: what `glassgpt train --minutes` would do, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from glassgpt import config as configs
from glassgpt import files
from glassgpt.cli.given import Given
from glassgpt.cli.options import TextField
from glassgpt.cli.terminal import make_console, print_table, say, shown, visible
from glassgpt.cli.tokens import counted
from glassgpt.commands import command
from glassgpt.corpus.sources import open_sources, refuse_idle_field, refuse_missing
from glassgpt.errors import ConfigError
from glassgpt.idle import OnlyWith, refuse_idle
from glassgpt.model.config import ModelConfig
from glassgpt.model.summary import byte_size
from glassgpt.outputs import refuse_overwriting
from glassgpt.runs.config import CorpusConfig, RunConfig
from glassgpt.runs.summary import duration
from glassgpt.training.config import TrainingConfig

if TYPE_CHECKING:
    from glassgpt.planning.plan import Plan

YEAR = 525_600
"""Minutes of a year. No plan for a longer time can be trusted."""
ONLY_WITH = (OnlyWith(("force",), "output", test=lambda said: said["output"]),)


def plan(
    *sources: str,
    minutes: float = 5.0,
    output: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    text_field: TextField = None,
    device: str = "auto",
    given: Given = (),
) -> None:
    """Show the best run for a text in the given minutes on this machine; train nothing.

    Args:
        sources: Files, folders, globs, builtin:name, hf:owner/name[:split][#column], or a known corpus.
        minutes: Minutes for everything, from reading the text to the report.
        output: Also write the plan as a recipe: a TOML file to edit and to train from.
        force: Overwrite an existing file.
        text_field: The field of .jsonl, .json, .csv and .parquet records that holds the text.
        device: auto, cpu, cuda or mps.
    """
    refuse_idle({"output": output}, given, ONLY_WITH)
    if text_field is not None:
        refuse_idle_field(sources or CorpusConfig().sources)
    corpus = CorpusConfig(sources=sources or CorpusConfig().sources, text_field=text_field)
    refuse_missing(corpus.sources)  # before torch is imported, which takes seconds
    config = RunConfig(corpus=corpus, training=TrainingConfig(device=device))
    if output is not None:
        refuse_overwriting(output, option="--output", inputs=lambda: files_of(corpus), force=force)
    console = make_console()
    made = plan_minutes(config, minutes, console)
    for note in made.text.notes:  # training prints them itself when it reads the text
        say(console, note)
    show(made, console)
    if output is not None:
        files.write_text(output, configs.to_toml(made.config))
        say(console, f"\nWritten to {visible(output)}. Train it with:  {command('train', recipe=output)}\n")
    else:
        also = {} if text_field is None else {"text_field": text_field}
        also |= {} if device == "auto" else {"training.device": device}
        train = command("train", *corpus.sources, minutes=f"{minutes:g}", **also)
        say(console, f"\nTrain it with:  {train}\n")


def files_of(corpus: CorpusConfig) -> list[Path]:
    """Return the files that the sources of a corpus are read from."""
    return [Path(source.name) for source in open_sources(corpus.sources, text_field=corpus.text_field)]


def plan_minutes(config: RunConfig, minutes: float, console: Console, *, optimizer: str = "muon") -> Plan:
    """Make the plan for a number of minutes. Raises `ConfigError` when the number is not a valid time."""
    if not 0 < minutes <= YEAR:
        raise ConfigError(f"--minutes must be a number above 0, and at most {YEAR:,}, a year.")
    from glassgpt.planning.plan import make_plan

    say = lambda line: console.print(shown(line), style="dim")  # noqa: E731
    return make_plan(config, 60 * minutes, say, optimizer=optimizer)


def show(plan: Plan, console: Console) -> None:
    """Print the candidates, the choice, what to expect of it, and the remarks about it."""
    from glassgpt.planning.expectation import expectation

    print_table(console, _considered(plan))
    print_table(console, _chosen(plan))
    for sentence in expectation(plan):
        say(console, sentence)
    for note in plan.notes:
        console.print(f"[yellow]{shown(note)}[/]")


def _shape(model: ModelConfig) -> str:
    layers = f"{model.n_layer} layer{'s' * (model.n_layer > 1)}"
    return f"{layers}, {model.n_head} head{'s' * (model.n_head > 1)}, {model.n_embd} wide"


def _considered(plan: Plan) -> Table:
    table = Table(title="Shapes that were considered", title_justify="left", title_style="bold")
    for heading in ("layers", "width", "tokens/s\nhere", "expected bits/byte above\nthe lowest possible"):
        table.add_column(heading, justify="right", no_wrap=True)
    for candidate in plan.considered:
        chosen = candidate.model.n_embd == plan.config.model.n_embd
        too_slow = candidate.excess == float("inf")
        table.add_row(
            str(candidate.model.n_layer),
            str(candidate.model.n_embd),
            f"{candidate.tokens_per_second:,.0f}",
            "too slow" if too_slow else f"{candidate.excess:.3f}",
            style="bold green" if chosen else None,
        )
    return table


def _rates(training: TrainingConfig) -> str:
    if training.optimizer == "muon":
        return f"Muon {training.matrix_learning_rate:.3g}, AdamW {training.learning_rate:.3g}"
    return f"{training.optimizer} {training.learning_rate:.3g}"


def _chosen(plan: Plan) -> Table:
    model, training = plan.config.model, plan.config.training
    about = "" if plan.text.exact else "about "
    rows = (
        ("text", f"{about}{byte_size(plan.text.bytes)}, {plan.epochs:.1f} passes over it"),
        ("vocabulary", f"{model.vocab_size:,} ({plan.config.tokenizer.name or plan.config.tokenizer.kind})"),
        (
            "model",
            f"{plan.parameters:,} parameters: {_shape(model)}",
        ),
        ("context", f"{model.context_length} tokens, rows in the order {training.order!r}"),
        ("batch", f"{training.batch_size * training.accumulate * model.context_length:,} tokens an update"),
        ("updates", f"about {training.steps:,}, of {1000 * plan.update_seconds:,.0f} ms here"),
        ("optimizer", f"{_rates(training)}, dropout {model.dropout:g}"),
        (
            "device",
            f"{plan.machine.device}, {training.precision}, {counted(plan.machine.threads, 'thread')}"
            f"{', compiled' if training.compile else ''}",
        ),
        ("memory", f"about {byte_size(plan.memory_bytes)}"),
        ("training", f"about {duration(plan.seconds)}"),
    )
    table = Table(title="The plan", title_justify="left", title_style="bold", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for label, value in rows:
        table.add_row(label, value)
    return table
