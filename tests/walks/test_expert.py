"""An impatient expert, who types what other programs taught: each line works, or the answer names ours."""

from __future__ import annotations

import pytest

from tests.cli.conftest import TEXT
from tests.walks.terminal import Terminal

pytestmark = pytest.mark.slow


def test_an_impatient_expert(terminal: Terminal) -> None:
    (terminal.folder / "input.txt").write_text(TEXT * 4)
    terminal.types("glassgpt trian input.txt", ends=2)
    terminal.pastes(
        "glassgpt train", adds=" input.txt --max_iters=20 --block_size=64 --n_layer 2 --lr 1e-3 --n_embd 64"
    )
    terminal.sees("20 steps", "Best validation loss")
    terminal.types("glassgpt ls", ends=2)
    terminal.pastes("glassgpt runs")
    terminal.sees("input-1")
    terminal.types("glassgpt sample", ends=2)
    terminal.pastes("glassgpt generate", fills={"RUN": "latest"}, adds=" --max_new_tokens 20 --temp 0")
    terminal.types("glassgpt generate 'The cat' --top_k 5", ends=1)
    terminal.pastes("glassgpt generate latest")
    assert terminal.screen.startswith("The cat")
    terminal.types("glassgpt generate latest -n 20", ends=2)
    terminal.sees("--max-tokens")
    terminal.types("glassgpt convert", ends=2)
    terminal.pastes("glassgpt export", fills={"RUN": "latest"})
    terminal.sees("input-1-f32.gguf")
    terminal.types("glassgpt rm input-1", ends=2)
    terminal.pastes("glassgpt runs remove", fills={"RUN": "input-1"})
    terminal.pastes("glassgpt runs restore")
    terminal.types("glassgpt generate input-1 'The cat' --max-tokens 5")
