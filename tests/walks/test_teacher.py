"""A teacher before a class: no text, no time, something to show, and the lesson ends in the middle."""

from __future__ import annotations

import pytest

from tests.walks.terminal import Terminal

pytestmark = pytest.mark.slow


def test_a_teacher_before_a_class(terminal: Terminal) -> None:
    terminal.types("glassgpt")
    terminal.pastes("glassgpt train", fills={"2": "0.3"})
    terminal.sees("stories it wrote", "valid under the grammar", "lowest possible loss")
    terminal.pastes("glassgpt generate")

    terminal.types('glassgpt tokenizer encode tinytales-1 "Once upon a time, Léa!"')
    terminal.sees("10 tokens for 23 bytes")
    terminal.types("glassgpt model tinytales-1")
    terminal.sees("parameters", "FLOPs a token, training")

    terminal.types("glassgpt train --minutes 5", until="best")
    terminal.presses("c")  # the bell rings
    terminal.waits(ends=130)
    terminal.sees("with everything saved")
    line = terminal.printed("glassgpt resume tinytales-2")
    terminal.types("glassgpt runs")
    terminal.sees("interrupted")
    terminal.types(line, until="perplexity")
    terminal.presses("c")
    terminal.waits(ends=130)

    terminal.types("glassgpt runs compare tinytales-1 tinytales-2")
    terminal.sees("Validation curves: compare.png")
    terminal.types("glassgpt eval tinytales-1 --tasks tinytales")
    terminal.sees("stories valid")
