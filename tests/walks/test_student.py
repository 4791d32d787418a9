"""A student with 18 runs: made, compared, the best named, exported to CSV, in three commands."""

from __future__ import annotations

import csv

import pytest

from tests.cli.conftest import TEXT
from tests.walks.terminal import Terminal

pytestmark = pytest.mark.slow


def test_a_student_with_18_runs(terminal: Terminal) -> None:
    (terminal.folder / "notes.txt").write_text(TEXT * 4)
    terminal.types(
        "glassgpt sweep notes.txt --lr 1e-3,3e-3 --n-layer 1,2,3 --seeds 3 --steps 8 --n-embd 32 --n-head 2 "
        "--vocab-size 280 --batch-size 4"
    )
    terminal.sees("18 runs", "± error", "What mattered", "Best run", "The seed alone")
    best = terminal.printed("glassgpt train --config")
    compare, listing = terminal.printed("glassgpt runs compare"), terminal.printed("glassgpt runs '")
    terminal.types(compare)
    terminal.sees("Validation curves: compare.png", "finished, best")
    terminal.types(listing)
    names = {line.split()[0] for line in terminal.screen.splitlines() if "finished" in line}
    assert len(names) == 18, terminal.screen
    terminal.types(f"{listing} --csv > runs.csv")
    with (terminal.folder / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert sum(row["best"] == "True" for row in rows) == 1
    assert (
        len({(row["training.learning_rate"], row["model.n_layer"], row["training.seed"]) for row in rows})
        == 18
    )
    terminal.types(best)
    terminal.sees("Best validation loss")
