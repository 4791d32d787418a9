"""`glassgpt sweep`: one run for each combination of settings and each seed, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, ArgumentCollection, Parameter
from rich.console import Console
from rich.table import Table

from glassgpt.cli.given import Given, fill_in
from glassgpt.cli.helping import Help
from glassgpt.cli.main import INTERRUPTED
from glassgpt.cli.runs import LEAST_NAME
from glassgpt.cli.terminal import make_console, middle, print_table, say, shown, visible
from glassgpt.cli.train import USUAL, checked, from_recipe, planned
from glassgpt.config import types_of
from glassgpt.errors import ConfigError
from glassgpt.idle import refuse_idle
from glassgpt.idle import shown as as_given
from glassgpt.runs.config import RunConfig

if TYPE_CHECKING:
    from glassgpt.pretraining.sweep import Listening
    from glassgpt.runs.sweeps import Result, Row, Sweep
    from glassgpt.training.events import Event


def _with_values(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Pass settings with several values in `swept`, and let their options hold the first value."""
    swept = []
    for argument in arguments:
        section, _, key = argument.name.removeprefix("--").replace("-", "_").partition(".")
        kind = types_of(RunConfig).get(section)
        if not argument.tokens or kind is None or key not in types_of(kind):
            continue
        text = argument.tokens[0].value
        if "," in text and not any(word in str(types_of(kind)[key]) for word in ("tuple", "dict")):
            swept.append(f"{section}.{key}={text}")
            argument.tokens[:] = [argument.tokens[0].evolve(value=text.partition(",")[0])]
    fill_in(app, commands, arguments, {"swept": swept}, source="the command line")


app = App(
    name="sweep",
    help="Train one run for each combination of settings, and show which setting mattered.",
    config=[_with_values, from_recipe],
    help_formatter=Help(USUAL),
)


@app.default
def sweep(
    *sources: str,
    seeds: int = 1,
    minutes: float | None = None,
    side_by_side: int = 1,
    recipe: Annotated[str | None, Parameter(name=["--recipe", "--config"])] = None,
    preset: str | None = None,
    name: str | None = None,
    text_field: str | None = None,
    config: Annotated[RunConfig, Parameter(name="*")] = RunConfig(),  # noqa: B008 - frozen
    given: Given = (),
    swept: Given = (),
) -> int:
    """Train one run for each combination of settings, and show which setting mattered.

    Give a setting several values, separated by commas: --training.learning-rate 1e-3,3e-3 --model.n-layer 2,4. The
    same command continues a sweep that was stopped: finished runs are skipped.

    Args:
        sources: Files, folders, globs, builtin:name, hf:owner/name[:split][#column], or a known corpus.
        seeds: Number of runs of each combination, each with another seed.
        minutes: Minutes for each run. They are planned once, and the values given here replace those of the plan.
        side_by_side: Number of runs that are trained at the same time, each with its share of the cores.
        recipe: A recipe by name, or a TOML file such as a run's config.toml.
        preset: Shape of the model by name; `glassgpt model --help` names them.
        name: Name of the sweep, with which the names of its runs begin; by default the source's name.
        text_field: The field of .jsonl, .json, .csv and .parquet records that holds the text.
    """
    plans = minutes is not None and not recipe and not preset
    config = checked(config, given, sources, text_field, recipe, preset, plans=plans)

    from glassgpt.pretraining.run import source_name
    from glassgpt.pretraining.sweep import begin, refuse_impossible_trials, run_sweep, trials_of, values_of
    from glassgpt.runs.directory import plain_name
    from glassgpt.runs.sweeps import sweep_file

    axes = {setting: values_of(setting, text) for setting, _, text in (each.partition("=") for each in swept)}
    if not axes and seeds == 1:
        raise ConfigError(
            "A sweep needs a setting with several values, such as --training.learning-rate 1e-3,3e-3, or --seeds 3."
        )
    name = name or plain_name(source_name(config.corpus.sources[0]))
    trials = trials_of(name, axes, _seeds(seeds, axes, config))

    def plan() -> RunConfig:
        return planned(config, minutes, given) if plans and minutes is not None else config

    found = begin(name, config, trials, minutes, plan)
    _refuse_idle_values(found, given)
    refuse_impossible_trials(found, side_by_side)
    console = make_console(lasting=True)
    say(console, f"{len(found.trials)} runs, written down in {sweep_file(name)}.")
    with console.status("") as status:
        results = run_sweep(found, side_by_side=side_by_side, listening=_listening(console, status, found))
    if len(results) < len(found.trials):
        console.print("\nStopped with everything saved. The same command continues the sweep.")
        return INTERRUPTED
    show_results(console, found, results)
    return 1 if all(result.failure for result in results) else 0


def _seeds(count: int, axes: dict[str, list], config: RunConfig) -> list[int]:
    if count < 1:
        raise ConfigError("--seeds must be at least 1.")
    if "training.seed" not in axes:
        return [config.training.seed + number for number in range(count)]
    if count > 1:
        raise ConfigError(
            "--seeds has no effect with several values of --training.seed. Leave out one of the two."
        )
    return axes["training.seed"]


def _refuse_idle_values(sweep: Sweep, given: Sequence[str]) -> None:
    from glassgpt.pretraining.sweep import config_of

    for trial in sweep.trials:
        refuse_idle(config_of(sweep.base, trial), given)


def _listening(console: Console, status, sweep: Sweep) -> Listening:
    """Return what shows the run in training on one line, and each finished run on a line that stays."""
    from glassgpt.pretraining.sweep import Listening
    from glassgpt.runs.summary import duration
    from glassgpt.runs.sweeps import Trial
    from glassgpt.training.events import StepsFinished

    place = {
        trial.name: f"{number}/{len(sweep.trials)}" for number, trial in enumerate(sweep.trials, start=1)
    }

    def event(trial: Trial, happened: Event) -> None:
        if isinstance(happened, StepsFinished):
            line = f"{place[trial.name]}  step {happened.step}, loss {happened.loss:.3f}  {trial.name}"
            status.update(shown(middle(visible(line), max(30, console.width - 4))))

    def ended(result: Result) -> None:
        summary, trial = result.summary, result.trial
        if summary is None:
            say(console, f"{place[trial.name]:>7}  failed  {trial.name}: {result.failure}", style="red")
            return
        loss = f"{summary.best_loss:.4f}" if summary.best_loss is not None else "-"
        begin = f"{place[trial.name]:>7}  loss {loss}  {duration(summary.seconds)}  "
        name = middle(visible(trial.name), max(LEAST_NAME, console.width - len(begin)))
        console.print(shown(begin + name), soft_wrap=True)

    return Listening(event, ended)


def show_results(console: Console, sweep: Sweep, results: Sequence[Result]) -> None:
    """Print each combination with its mean and error, what mattered, and the best run as a command."""
    from glassgpt.commands import command
    from glassgpt.runs.directory import RunDirectory, runs_folder
    from glassgpt.runs.listing import short_names
    from glassgpt.runs.reading import repeating
    from glassgpt.runs.sweeps import rows_of

    measure, rows = rows_of(results)
    names = short_names([*rows[0].settings])
    console.print()
    print_table(console, _combinations(rows, names, measure))
    _show_effects(console, rows, names, measure)
    if not rows[0].losses:
        return
    best = RunDirectory(runs_folder() / rows[0].best)
    say(console, f"\nBest run: {best.name}. Repeat it with:")
    say(console, f"  {repeating(best)}")
    say(console, f"Its curves:  {command('runs', 'compare', f'{sweep.name}-*')}")
    say(console, f"Its runs:    {command('runs', f'{sweep.name}-*')}")


def _combinations(rows: Sequence[Row], names: dict[str, str], measure: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in (*names.values(), "seeds", measure, "± error"):
        table.add_column(shown(title), justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for number, row in enumerate(rows):
        values = [shown(as_given(value) or "true") for value in row.settings.values()]
        mean = f"{row.mean:.4f}" if row.losses else "-"
        error = f"{row.error:.4f}" if row.error is not None else "-"
        reasons = "; ".join(dict.fromkeys(row.failures))
        best = number == 0 and row.losses
        remark = f"failed: {reasons}" if reasons else "best" if best else ""
        style = "bold green" if best else None
        table.add_row(*values, str(len(row.losses)), mean, error, shown(remark), style=style)
    return table


def _show_effects(console: Console, rows: Sequence[Row], names: dict[str, str], measure: str) -> None:
    """Print how far the means of each setting's values are apart, beside what the seed alone does."""
    from glassgpt.runs.sweeps import effects, noise, spread

    found, between = effects(rows), noise(rows)
    if not found:
        return
    console.print(f"\n[bold]What mattered[/]: the mean {measure} of each value")
    for setting, means in found.items():
        values = ", ".join(f"{as_given(value) or 'true'}: {mean:.4f}" for value, mean in means.items())
        little = between is not None and spread(means) <= between
        remark = " (no more than the seed alone)" if little else ""
        line = f"  {names[setting]}  {spread(means):.4f} apart{remark}  ({values})"
        say(console, line)
    if between is not None:
        say(console, f"  The seed alone changes it by {between:.4f} (standard deviation).")
