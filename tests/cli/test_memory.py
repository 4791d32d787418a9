"""Commands that open a run check the memory before they allocate it, and name a way out that they have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.training import fits

MEASURING = (
    ("eval", "small", "--tasks", "induction"),
    ("eval", "small", "text.txt"),
    ("eval", "small", "--tasks", "grammar"),
)


@pytest.mark.parametrize("command", MEASURING, ids=" ".join)
def test_measuring_is_refused_before_it_begins(
    command: tuple[str, ...], workplace: Path, glassgpt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = fits.refuse_measuring

    def noting(model: Any, need: int, tokens: int) -> None:
        asked.append(need)
        ask(model, need, tokens)

    for room in ("loss", "scoring"):
        monkeypatch.setattr(f"glassgpt.evaluation.{room}.refuse_measuring", noting)
    monkeypatch.setattr(fits, "free_memory", lambda _: 1000)
    refused = glassgpt(*command)
    assert refused.status == 1
    assert re.search(
        r"Measuring needs about [\d.]+ \wB of memory for [\d,]+ tokens at a time", refused.errors
    )
    assert fits.ELSEWHERE in refused.errors
    assert "--" not in refused.errors.replace("glassgpt", "")
    monkeypatch.setattr(fits, "free_memory", lambda _: 1 << 60)
    assert glassgpt(*command).status == 0
    need = fits.taken(max(asked), torch.device("cpu"))  # of the loss, or of the probe after it
    monkeypatch.setattr(fits, "free_memory", lambda _: need - 1)
    refused = glassgpt(*command)
    assert "Round the weights to 8 bits (--weights int8)" in refused.errors
    assert "no such option" not in glassgpt(*command, "--weights", "int8").errors.lower()
    monkeypatch.setattr(fits, "free_memory", lambda _: need)
    assert glassgpt(*command).status == 0


def test_a_resumed_training_names_no_setting(
    workplace: Path, glassgpt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "free_memory", lambda _: 1000)
    refused = glassgpt("resume", "small")
    assert refused.status == 1
    assert "This training needs about" in refused.errors
    assert "A run that has begun keeps its settings." in refused.errors
    assert "--" not in refused.errors
