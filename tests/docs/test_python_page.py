"""The script "from text to loss in 40 lines": the page shows it as it is, and its loss falls."""

from __future__ import annotations

import re
import runpy

import pytest

from tests.docs.test_docs_commands import ROOT, blocks

SCRIPT = ROOT / "examples" / "from_text_to_loss.py"


def test_the_page_shows_the_script() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert [block.text for block in blocks(ROOT / "docs/python.md") if block.language == "py"] == [text]


@pytest.mark.slow
def test_its_loss_falls_and_it_writes(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SCRIPT))
    printed = capsys.readouterr().out
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2
    assert len(printed.splitlines()[len(losses)]) > 10
