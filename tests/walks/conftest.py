"""A terminal for each walk, at three widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.walks.terminal import Terminal

WIDTHS = (60, 100, 200)


@pytest.fixture(params=WIDTHS)
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A shell in an empty folder, in windows of three widths."""
    folder = tmp_path / "my project"
    folder.mkdir()
    window = Terminal(folder, request.param)
    yield window
    window.closes()
