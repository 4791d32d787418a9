"""A prompt that is longer than the context is shortened, and the command says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_generate_says_what_the_model_does_not_see(glassgpt: Any, workplace: Path) -> None:
    """The first words of a long prompt were once dropped silently."""
    long = "The cat sat on the mat. " * 20
    done = glassgpt("generate", "small", long, "--max-tokens", "2")
    assert done.status == 0
    assert "the model looks back at 16 at most: the first" in done.errors
    assert done.output.startswith(long)
    short = glassgpt("generate", "small", "The", "--max-tokens", "2")
    assert "looks back" not in short.errors
