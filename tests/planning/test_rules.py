"""The rules of thumb give sensible values whatever the text, the time and the run."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.planning.rules import (
    batch_tokens_for,
    bytes_per_token,
    context_for,
    dropout_for,
    pauses_for,
    vocabulary_for,
)
from glassgpt.planning.text import TextFacts

TEXTS = st.builds(
    TextFacts,
    bytes=st.integers(100, 10**12),
    documents=st.integers(1, 10**6),
    usual_bytes=st.integers(1, 10**6),
    words=st.integers(0, 10**6),
    word_bytes=st.floats(0.5, 20.0),
    exact=st.booleans(),
)


@given(text=TEXTS, seconds=st.floats(5, 1e7))
def test_vocabularies_are_sensible_whatever_the_text(text: TextFacts, seconds: float) -> None:
    vocabulary = vocabulary_for(text, seconds)
    assert 512 <= vocabulary <= 32768
    assert math.log2(vocabulary).is_integer()
    assert vocabulary <= 2 * (257 + text.words) or vocabulary == 512
    assert vocabulary_for(dataclasses.replace(text, bytes=2 * text.bytes), seconds) >= vocabulary
    assert 1 <= bytes_per_token(text, vocabulary) <= max(1, text.word_bytes)


UNITS = {"kB": 1e3, "MB": 1e6}
ADVICE = re.compile(r"^\| (\d+) ?(kB|MB)? to (\d+) (MB)\b[^|]*\|[^|]*`bpe` with (\d+) to (\d+)", re.MULTILINE)


def advised() -> list[tuple[float, float, int, int]]:
    """Return what the page on one's own text advises: sizes of a text in bytes, and sizes of its vocabulary."""
    page = (Path(__file__).parents[2] / "docs/your-own-text.md").read_text(encoding="utf-8")
    return [
        (int(least) * UNITS[unit or large], int(most) * UNITS[large], int(few), int(many))
        for least, unit, most, large, few, many in ADVICE.findall(page)
    ]


@pytest.mark.parametrize(("least", "most", "few", "many"), advised())
@pytest.mark.parametrize("minutes", [1.5, 10, 60])
def test_the_plan_and_the_page_advise_the_same(
    least: float, most: float, few: int, many: int, minutes: float
) -> None:
    """The plan took 8,192 words for 4 MB where the page advises 2,048 to 4,096."""
    for size in (1.1 * least, 0.9 * most):
        text = TextFacts(int(size), 1, int(size), 10**6, 4.5, True)
        assert few / 2 <= vocabulary_for(text, 60 * minutes) <= 2 * many  # near the next row
    middle = TextFacts(int(math.sqrt(least * most)), 1, 10**6, 10**6, 4.5, True)
    assert few <= vocabulary_for(middle, 60 * minutes) <= many


def test_the_page_has_advice() -> None:
    assert len(advised()) == 3


@given(tokens=st.floats(1e3, 1e12))
def test_batches_grow_with_the_run(tokens: float) -> None:
    assert 64 <= batch_tokens_for(tokens) <= batch_tokens_for(4 * tokens) <= 262144
    assert batch_tokens_for(tokens) >= 2048 or tokens / batch_tokens_for(tokens) >= 15


@given(text=TEXTS, seconds=st.floats(5, 1e6))
@settings(max_examples=200)
def test_short_documents_are_read_whole(text: TextFacts, seconds: float) -> None:
    context, order = context_for(text, 4096, seconds)
    assert 8 <= context <= 1024
    if order == "documents":
        assert context * bytes_per_token(text, 4096) >= text.usual_bytes


def test_dropout_grows_with_the_passes() -> None:
    assert [dropout_for(epochs) for epochs in (0.5, 5, 50)] == [0.0, 0.05, 0.1]


def test_longer_runs_stop_more_often_up_to_a_dozen_times() -> None:
    assert [pauses_for(seconds) for seconds in (3, 16, 60, 600, 1e6)] == [2, 2, 7, 12, 12]
