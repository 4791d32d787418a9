"""`python -m benchmarks [NAME ...] [--quick]`: measure, print the tables, and write them to results/."""

from __future__ import annotations

import importlib
import sys

from cyclopts import App
from rich.console import Console
from rich.markdown import Markdown

from benchmarks import report, summary
from benchmarks.texts import use_kept_vocabularies

# Quick ones first. A module is imported only when it is run.
BENCHMARKS = (
    "start",
    "steady",
    "tokenize",
    "generate",
    "serve",
    "look",
    "train_step",
    "finetune",
    "prepare",
    "scaling",
    "travel",
    "time_to_quality",
)

app = App(name="benchmarks", help="Compare GlassGPT with its peers, side by side in one run.")


@app.default
def main(*names: str, quick: bool = False) -> None:
    """Run the named benchmarks, or all of them.

    Args:
        names: Which benchmarks; all when none is named.
        quick: Take seconds instead of minutes, to check that a benchmark works; the figures mean nothing.
    """
    console = Console(highlight=False)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"There is no benchmark {unknown[0]!r}. There are: {', '.join(BENCHMARKS)}.")
    use_kept_vocabularies()
    for name in names or BENCHMARKS:
        console.print(f"[bold]{name}[/]")
        figures = importlib.import_module(f"benchmarks.{name}").run(quick)
        path = report.write(name, figures, quick=quick)
        console.print(Markdown(report.table(figures)))
        console.print(f"[dim]{path}[/]\n")
    if not quick:
        console.print(Markdown(summary.write(BENCHMARKS)))


if __name__ == "__main__":
    app()
