"""A writer with three novels: does a model write like them, and what would help?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.walks.terminal import Terminal

pytestmark = pytest.mark.slow


def test_a_writer_with_three_novels(terminal: Terminal, shared_data: Path) -> None:
    text = (shared_data / "fairytales.txt").read_text(encoding="utf-8").replace("<|endoftext|>", "")
    for number in range(3):
        part = text[number * 400_000 : number * 400_000 + 300_000]
        (terminal.folder / f"Novel {number + 1}.txt").write_text(part, encoding="utf-8")

    terminal.types("glassgpt")
    terminal.pastes("glassgpt plan", fills={"TEXT": ".", "10": "0.4"})
    terminal.sees("Expect about", "bits a byte", "10 times the minutes")
    terminal.pastes("glassgpt train")
    terminal.sees("Best validation loss", "expect of English text", "runs/my-project-1/report.html")
    assert (terminal.folder / "runs/my-project-1/report.html").is_file()

    longer = terminal.printed("glassgpt train")
    terminal.pastes("glassgpt generate")
    assert len(terminal.screen.split()) > 20, terminal.screen

    terminal.types(longer)  # beside the first run: it reads the novels, and nothing that GlassGPT wrote
    terminal.sees("1 run directory (runs/my-project-1)")
    terminal.types("glassgpt runs")
    terminal.sees("my-project-1", "my-project-2", "best")
