"""llama.cpp in its own process: it answers, and an error says when it ends or hangs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from glassgpt.errors import InteropError
from glassgpt.interop.exports import export_run
from glassgpt.interop.llama_server import CannotOpen, Llama

pytest.importorskip("xllamacpp")


@pytest.fixture
def exported(make_run: Any) -> Path:
    make_run()
    return export_run("tiny", "gguf").path


def test_it_ends_with_its_block(exported: Path) -> None:
    with Llama(exported, context=64) as llama:
        assert len(llama.greedy([1, 2, 3], 4)) == 4
        process = llama._process
    assert process.poll() is not None


def test_one_that_was_killed_is_an_error(exported: Path) -> None:
    with Llama(exported, context=64) as llama:
        llama._process.kill()
        llama._process.wait()
        with pytest.raises(InteropError, match="ended"):
            llama.tokenize("The cat")


def test_one_that_hangs_is_an_error(exported: Path) -> None:
    """With a hanging llama.cpp the export waited for ten minutes and ended in a traceback."""
    with Llama(exported, context=64) as llama:
        llama._patience = 0.5
        os.kill(llama._process.pid, signal.SIGSTOP)
        os.waitpid(llama._process.pid, os.WUNTRACED)  # it may answer until it has really stopped
        with pytest.raises(InteropError, match="hangs"):
            llama.tokenize("The cat")


def test_one_that_hangs_while_it_opens_is_an_error(exported: Path) -> None:
    with pytest.raises(CannotOpen, match="hung"):
        Llama(exported, patience=0.01)


def test_a_truncated_file_is_an_error(exported: Path) -> None:
    exported.write_bytes(exported.read_bytes()[:2000])
    with pytest.raises(CannotOpen, match="ended at once"):
        Llama(exported)
