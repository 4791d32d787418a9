"""Records are split by their content: copies stay together, and both sides have some."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.corpus.splits import SplitConfig, place
from glassgpt.errors import ConfigError
from glassgpt.finetuning.rows import split_rows

contents = st.lists(st.text(max_size=2) | st.integers(0, 400).map(str), min_size=2, max_size=300)


@given(contents, st.floats(0.01, 0.99), st.integers(0, 3))
def test_copies_are_on_one_side_and_each_side_has_some(texts: list[str], share: float, seed: int) -> None:
    """Twenty copies of each of two texts were once on both sides, and a classifier had an accuracy of 1.000."""
    if len(set(texts)) < 2:
        with pytest.raises(ConfigError, match=f"2 different records.*{len(texts)} are copies"):
            split_rows(texts, share, seed)
        return
    said: list[str] = []
    learn, held = split_rows(texts, share, seed, say=said.append)
    assert sorted(learn + held) == list(range(len(texts)))
    assert learn == sorted(learn)
    assert learn
    assert held
    assert not {texts[index] for index in learn} & {texts[index] for index in held}
    copies = len(texts) - len(set(texts))
    assert said == [] if not copies else f"{copies} of {len(texts)} records are copies" in said[0]


@given(st.integers(2, 99), st.floats(0.01, 0.99))
def test_of_few_records_the_exact_share_is_held_out(count: int, share: float) -> None:
    _, held = split_rows([str(n) for n in range(count)], min(share, 0.1), seed=1)
    assert len(held) == max(1, min(count - 1, round(min(share, 0.1) * count)))


def test_many_records_are_split_as_documents_are_whatever_their_order() -> None:
    texts = [f"text {n}" for n in range(2_000)]
    config = SplitConfig(validation=0.1, seed=5)
    _, held = split_rows(texts, 0.1, 5)
    assert {texts[index] for index in held} == {text for text in texts if place(text, config) == "validation"}
    _, turned = split_rows([*texts[::-1], "one more"], 0.1, 5)
    assert {texts[::-1][index] for index in turned if index < 2_000} == {texts[index] for index in held}
    assert split_rows(texts, 0.1, 6)[1] != held


def test_one_record_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="At least 2 different records"):
        split_rows(["a"], 0.1, 0)
