"""A Python learner: from the page on Python to a loop of one's own, and on with the run of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.walks.terminal import Terminal

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "from_text_to_loss.py"


def test_a_python_learner(terminal: Terminal) -> None:
    shutil.copy(EXAMPLE, terminal.folder / "mine.py")
    terminal.types("python mine.py", any_width=True)
    first, *_, last = [
        float(line.split("loss")[1]) for line in terminal.screen.splitlines() if "loss" in line
    ]
    assert last < first / 2

    terminal.types('python -c "import glassgpt; print(*dir(glassgpt))"', any_width=True)
    assert terminal.screen.split()[:2] == ["GPT", "GenerationConfig"]
    assert "open_run" in terminal.screen.split()
    assert not any(name.startswith("_") for name in terminal.screen.split() if name != "__version__")

    terminal.types(r"""python -c 'import glassgpt; glassgpt.open_run("latest")'""", ends=1, any_width=True)
    terminal.sees("There is no run in runs yet. Make one with")
    terminal.pastes("glassgpt train", fills={}, adds=" --minutes 0.2")
    ask = 'import glassgpt; print(*glassgpt.open_run("latest").complete("Once", glassgpt.GenerationConfig(seed=1)))'
    terminal.types(f"python -c '{ask}'", any_width=True)
    assert len(terminal.screen.split()) > 10, terminal.screen
