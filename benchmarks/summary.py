"""All measured figures in one table, which `make bench` prints at the end."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.report import RESULTS, Figure, table


def collect(names: tuple[str, ...], folder: Path = RESULTS) -> list[Figure]:
    """Return the figures of the full runs whose results are in a folder, in the order of `names`."""
    figures: list[Figure] = []
    for name in names:
        path = folder / f"{name}.json"
        if path.is_file():
            figures += [Figure(**figure) for figure in json.loads(path.read_text())["figures"]]
    return figures


def write(names: tuple[str, ...], folder: Path = RESULTS) -> str:
    """Write `summary.md`, the figures that have a mark, and return its table."""
    shown = table([figure for figure in collect(names, folder) if figure.reached is not None])
    (folder / "summary.md").write_text(f"# The marks\n\n{shown}\n")
    return shown
