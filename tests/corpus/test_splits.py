"""No text is lost or moved between splits, and each document goes where the rules say."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.corpus.cleaning import CleaningConfig, CleaningReport, clean
from glassgpt.corpus.documents import Document
from glassgpt.corpus.splits import LOOK_AHEAD, SPLITS, SplitConfig, cut, documents_for_hashing, place, split
from glassgpt.corpus.textfiles import documents_of
from glassgpt.errors import ConfigError

shares = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1 / 3, 0.4])
configs = st.builds(
    SplitConfig, validation=shares, test=shares, seed=st.integers(0, 9), long_document=st.integers(1, 60)
)


def stories(count: int, begin: int = 0) -> list[Document]:
    return [Document(f"Story {n} of the lamp.", f"s#{n}") for n in range(begin, begin + count)]


def placed(documents, config=None) -> dict[str, list[Document]]:
    by_split: dict[str, list[Document]] = {name: [] for name in SPLITS}
    for name, document in split(documents, config or SplitConfig()):
        by_split[name].append(document)
    return by_split


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), max_size=12), configs)
def test_every_character_is_placed_exactly_once_and_in_order(texts, config):
    documents = [Document(text, f"t#{n}") for n, text in enumerate(texts)]
    parts = [part for _, part in split(documents, config)]
    for document in documents:
        mine = [part for part in parts if part.source == document.source]
        assert "".join(part.text for part in mine) == document.text
        assert mine[0].begins == 0
        assert mine[-1].ends == 1
        assert all(a.ends == b.begins for a, b in itertools.pairwise(mine))


@given(st.text(min_size=1, max_size=300), shares, shares)
def test_a_whole_document_is_cut_at_exact_characters(text, validation, test):
    config = SplitConfig(validation=validation, test=test, long_document=1)
    parts = dict.fromkeys(SPLITS, "")
    for name, part in split([Document(text, "t")], config):
        parts[name] += part.text
    first = int(len(text) * (1 - validation - test)) if validation + test else len(text)
    second = int(len(text) * (1 - test)) if test else len(text)
    assert parts == {"train": text[:first], "validation": text[first:second], "test": text[second:]}


@settings(deadline=None)
@given(
    text=st.text("ab \n", min_size=1, max_size=400), block=st.integers(5, 50), validation=shares, test=shares
)
def test_pieces_are_cut_where_the_whole_would_be(text, block, validation, test):
    config = SplitConfig(validation=validation, test=test, long_document=1)
    whole, pieces = placed([Document(text, "t")], config), {}
    pieces = placed(documents_of(lambda: iter([text]), name="t", block=block), config)
    for name in SPLITS:
        assert "".join(part.text for part in pieces[name]) == "".join(part.text for part in whole[name])


def test_the_usual_ninety_ten_cut_of_a_real_text(shared_data):
    text = (shared_data / "tinyshakespeare.txt").read_text()
    by_split = placed(documents_of(lambda: iter([text]), name="t"))
    assert "".join(d.text for d in by_split["train"]) == text[: int(len(text) * 0.9)]
    assert "".join(d.text for d in by_split["validation"]) == text[int(len(text) * 0.9) :]
    assert [d.is_last_piece for d in by_split["train"]] == [False]
    assert [d.is_last_piece for d in by_split["validation"]] == [False, True]


@settings(deadline=None, max_examples=30)
@given(st.sets(st.integers(0, 10**6), max_size=60), st.randoms(), st.integers(0, 3))
def test_adding_documents_changes_no_split(more, rng, seed):
    config = SplitConfig(validation=0.1, test=0.2, seed=seed)
    before = {d.text: name for name, found in placed(stories(100), config).items() for d in found}
    grown = stories(100) + [Document(f"New story {n}", f"n#{n}") for n in more]
    rng.shuffle(grown)
    after = {d.text: name for name, found in placed(grown, config).items() for d in found}
    assert {text: after[text] for text in before} == before


def test_shares_come_out_and_the_seed_matters():
    by_split = placed(stories(20_000), SplitConfig(validation=0.1, test=0.05))
    assert len(by_split["validation"]) == pytest.approx(2_000, abs=4 * 2_000**0.5)
    assert len(by_split["test"]) == pytest.approx(1_000, abs=4 * 1_000**0.5)
    other = placed(stories(20_000), SplitConfig(validation=0.1, test=0.05, seed=1))
    assert {d.text for d in other["test"]} != {d.text for d in by_split["test"]}


def test_placing_is_the_documented_hash():
    """A change of the hash would silently move text that was validation into training."""
    import hashlib

    for document in stories(200):
        digest = hashlib.sha256(f"3\n{document.text}".encode()).hexdigest()
        uniform = int(digest, 16) / 2**256
        expected = "validation" if uniform < 0.2 else "test" if uniform < 0.5 else "train"
        assert place(document.text, SplitConfig(validation=0.2, test=0.3, seed=3)) == expected


@pytest.mark.parametrize(("count", "is_cut"), [(1, True), (99, True), (100, False), (101, False)])
def test_few_documents_are_cut_and_many_are_hashed(count, is_cut):
    assert documents_for_hashing(SplitConfig()) == 100
    by_split = placed(stories(count))
    assert all(document.is_whole for document in by_split["train"]) != is_cut
    assert by_split["validation"]
    assert len(by_split["train"]) == (count if is_cut else count - len(by_split["validation"]))


def test_long_documents_are_cut_among_many_short_ones():
    book = Document("word " * 5_000, "book")
    by_split = placed([*stories(150), book])
    assert [len(d.text) for found in by_split.values() for d in found if d.source == "book"] == [
        22_500,
        2_500,
    ]


def test_without_held_out_shares_everything_is_for_training():
    documents = [*stories(3), Document("x" * 50_000, "long"), Document("piece", "p", 0.25, 0.5)]
    assert sorted(placed(documents, SplitConfig(validation=0))["train"], key=lambda d: d.source) == sorted(
        documents, key=lambda d: d.source
    )


def test_cleaned_pieces_still_end_in_the_last_split():
    """Cleaning changes the lengths of pieces; rounding must not create a split whose share is zero."""
    text = "line of the lamp\r\n" * 500
    pieces = documents_of(lambda: iter([text]), name="t", block=97)
    cleaned = list(clean(pieces, CleaningConfig(), CleaningReport()))
    by_split = placed(cleaned, SplitConfig(validation=0.1))
    assert not by_split["test"]
    joined = "".join(d.text for d in by_split["train"] + by_split["validation"])
    assert joined == text.replace("\r\n", "\n")
    assert len("".join(d.text for d in by_split["validation"])) == pytest.approx(len(joined) / 10, abs=10)
    assert not any(placed(cleaned, SplitConfig(validation=0))[name] for name in ("validation", "test"))


def test_an_empty_last_piece_goes_to_the_last_split():
    (placed_at,) = cut(Document("", "t", 0.9, 1.0), SplitConfig())
    assert placed_at == ("validation", Document("", "t", 0.9, 1.0))


def test_the_look_ahead_is_bounded():
    def many():
        for n in range(4_000):
            yield Document(f"{n}" + "x" * 10_000, f"s#{n}")

    config = SplitConfig(validation=0.0001)  # 100,000 documents would be needed
    tracemalloc.start()
    count = sum(1 for _ in split(many(), config))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 4_000
    assert peak < 2 * LOOK_AHEAD


@pytest.mark.parametrize(
    "wrong",
    [{"validation": 1.0}, {"validation": -0.1}, {"validation": 0.5, "test": 0.5}, {"long_document": 0}],
)
def test_impossible_shares_are_refused(wrong):
    with pytest.raises(ConfigError):
        SplitConfig(**wrong)
