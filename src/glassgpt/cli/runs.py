"""`glassgpt runs`: the runs in this folder. The commands on single runs are in `runs_keep`, `runs_show`, `compare`."""

from __future__ import annotations

import bisect
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from glassgpt.cli.terminal import UNLIMITED, make_console, middle, say, shown, visible

if TYPE_CHECKING:
    from glassgpt.runs.summary import RunSummary

Flag = Annotated[bool, Parameter(negative=())]
LEAST_NAME = 24
"""Columns that names of runs get at least, in a narrow window."""
MOST_SETTINGS = 6
"""The most columns of settings that differ."""

app = App(name="runs", help="List runs, compare several, and keep order among them.")
for name, path, help_ in (
    ("show", "runs_show:show", "Show everything about one run."),
    ("compare", "compare:compare", "Put runs side by side and draw their validation curves over each other."),
    ("rename", "runs_keep:rename", "Give a run another name."),
    ("note", "runs_keep:note", "Note something about a run; without a text, show the note."),
    ("remove", "runs_keep:remove", "Move runs to a folder from which `runs restore` brings them back."),
    ("restore", "runs_keep:restore", "Bring a removed run back; without a name, list the removed runs."),
    ("prune", "runs_keep:prune", "Remove the checkpoints of finished runs: less space, no resume."),
    ("pack", "pack:pack", "Copy what another person needs to use a run into one small folder."),
):
    app.command(f"glassgpt.cli.{path}", name=name, help=help_)


@app.default
def list_(
    *runs: str,
    sort: Literal["date", "name", "loss", "time", "size"] = "date",
    sweep: str | None = None,
    json: Flag = False,
    csv: Flag = False,
) -> None:
    """List the runs in this folder: how far they came, how good they are, and what differs between them.

    Args:
        runs: Runs by name or path, or patterns in quotes such as 'tale-*'.
        sort: The column to sort by: newest last, best first, smallest first.
        sweep: Only the runs of this sweep.
        json: Print everything as JSON, with all settings that differ.
        csv: Print everything as CSV, with all settings that differ.
    """
    from glassgpt.errors import ConfigError
    from glassgpt.runs.directory import runs_folder
    from glassgpt.runs.listing import KEYS, as_csv, best_of, differing, facts
    from glassgpt.runs.summary import summarize

    if json and csv:
        raise ConfigError("--json has no effect with --csv. Leave out one of the two.")
    summaries = sorted((summarize(run) for run in _chosen(runs, sweep)), key=KEYS[sort])
    if json or csv:
        settings, best = sorted(differing(summaries)), best_of(summaries)
        rows = [facts(summary, settings, best) for summary in summaries]
        sys.stdout.write(as_csv(rows) if csv else _as_json(rows))
        return
    console = make_console()
    if not summaries:
        console.print(f"There is no run in {shown(runs_folder())} yet. Make one with:  glassgpt train")
        return
    print_runs(console, summaries)


def _chosen(patterns: Sequence[str], sweep: str | None) -> list:
    """Return the runs of some patterns that belong to a sweep, if one is named."""
    from glassgpt.errors import RunError, did_you_mean
    from glassgpt.runs.listing import matching

    try:
        found = matching(patterns)
    except RunError as error:
        hint = did_you_mean("".join(patterns[:1]), [name for name in app if not name.startswith("-")], most=1)
        if not hint or "Did you mean" in str(error):
            raise
        name = hint.removeprefix(" Did you mean ").removesuffix("?")
        raise RunError(f"{error} Did you mean the command `glassgpt runs {name}`?") from error
    if sweep is None:
        return found
    from glassgpt.runs.sweeps import read_sweep

    names = {trial.name for trial in read_sweep(sweep).trials}
    return [run for run in found if run.path.name in names]


def _as_json(rows: list) -> str:
    import json

    from glassgpt import files

    return files.as_utf8(json.dumps(rows, indent=2, ensure_ascii=False)) + "\n"


def print_runs(console: Console, summaries: Sequence[RunSummary]) -> None:
    """Print a table of runs with the columns that fit into the window, and say which ones do not."""
    from glassgpt.runs.listing import best_of, differing, short_names

    best = best_of(summaries)
    names = short_names(differing(summaries)[:MOST_SETTINGS])
    columns = {**_columns(summaries, best), **_setting_columns(summaries, names)}
    handles = [visible(summary.name) for summary in summaries]
    least = _telling(handles)
    kept = _fitting(columns, console.width, least)
    room = console.width - sum(_width(title, columns[title]) + 2 for title in kept)
    named = {"run": [middle(handle, max(least, room)) for handle in handles]}
    bold = [index for index, summary in enumerate(summaries) if summary.name in best]
    _print_columns(console, named | {title: columns[title] for title in kept}, bold)
    left_out = [title for title in columns if title not in kept]
    if left_out:
        text = f"Not shown in this width: {', '.join(left_out)}. `--csv` prints all."
        say(console, text, style="dim")


def _print_columns(console: Console, columns: dict[str, list[str]], bold: Sequence[int]) -> None:
    """Print cells that have room in one line. A table of rich measures each cell many times: 0.15 s for 200 rows."""
    widths = {title: _width(title, cells) for title, cells in columns.items()}

    def padded(title: str, cell: str) -> str:
        space = " " * (widths[title] - cell_len(cell))
        return cell + space if title in LEFT else space + cell

    page = Text("  ".join(padded(title, title) for title in columns), "bold", end="")
    for index, row in enumerate(zip(*columns.values(), strict=True)):
        line = "  ".join(padded(*cell) for cell in zip(columns, row, strict=True)).rstrip()
        page.append("\n" + line, "bold green" if index in bold else None)
    console.print(page, soft_wrap=True)


def _columns(summaries: Sequence[RunSummary], best: Collection[str]) -> dict[str, list[str]]:
    """Return the cells of each column, the columns in the order in which they get a place in a narrow window."""
    from glassgpt.model.summary import byte_size
    from glassgpt.runs.summary import duration

    found = {
        "state": [f"{summary.state}{', best' * (summary.name in best)}" for summary in summaries],
        "loss": [_number(summary.best_loss) for summary in summaries],
        "bits/byte": [_number(summary.bits_per_byte) for summary in summaries],
        "steps": [f"{summary.step}/{summary.steps}" if summary.steps else "-" for summary in summaries],
        "time": [duration(summary.seconds) for summary in summaries],
        "parameters": [f"{summary.parameters:,}" if summary.parameters else "-" for summary in summaries],
        "tokens": [f"{summary.tokens:,}" if summary.tokens else "-" for summary in summaries],
        "size": [byte_size(summary.size) for summary in summaries],
    }
    if any(summary.note for summary in summaries):
        found["note"] = [middle(visible(summary.note), 40) for summary in summaries]
    return found


def _setting_columns(summaries: Sequence[RunSummary], names: dict[str, str]) -> dict[str, list[str]]:
    from glassgpt.idle import shown as as_given

    return {
        short: [
            middle(visible(as_given(value)), 30) if (value := summary.settings.get(name)) is not None else "-"
            for summary in summaries
        ]
        for name, short in names.items()
    }


ORDER = ("parameters", "steps", "loss", "bits/byte", "tokens", "time", "size")
"""The order of the columns from left to right; then come settings, state and note."""
LEFT = ("run", "state", "note")
"""The columns of words."""
WANTED = ("state", "loss")
"""Columns that are always shown."""
SETTINGS_FIRST = 3
"""The settings that have a place before the other columns."""


def _telling(names: Sequence[str]) -> int:
    """Return the columns in which no two names become equal when their middle is cut out."""
    longest = max(map(cell_len, names))
    widths = range(min(LEAST_NAME, longest), longest)

    def differ(width: int) -> bool:
        return len({middle(name, width) for name in names}) == len(names)

    # More columns never make names equal, so few widths have to be tried: all of them take 0.2 s for 200 long names.
    return widths.start + bisect.bisect_left(widths, True, key=differ)


def _fitting(columns: dict[str, list[str]], width: int, named: int) -> list[str]:
    """Return the columns that have room beside names of a width, in the order in which they are shown."""
    left = width - named
    settings = [title for title in columns if title not in (*ORDER, "state", "note")]
    kept = []
    first = [*WANTED, "bits/byte", *settings[:SETTINGS_FIRST]]
    for title in (*first, *(title for title in columns if title not in first)):
        need = _width(title, columns[title]) + 2
        if need <= left or width == UNLIMITED or title in WANTED:
            kept.append(title)
            left -= need
    order = [*ORDER, *settings, "state", "note"]
    return sorted(kept, key=order.index)


def _width(title: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, (title, *cells)))


def _number(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "-"
