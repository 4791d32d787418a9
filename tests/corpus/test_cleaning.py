"""Cleaning repairs what is damaged, leaves alone what is not, and says what it did."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt import config as configs
from glassgpt.corpus.cleaning import (
    CleaningConfig,
    CleaningReport,
    _ftfy_config,
    _mend_encoding,
    clean,
    repair,
)
from glassgpt.corpus.documents import Document
from glassgpt.corpus.textfiles import read_text
from glassgpt.errors import ConfigError

GENTLE, STRICT = CleaningConfig(), CleaningConfig(mode="strict")
# Any text, and text made of what the repairs look for, in any order.
damaged = st.lists(
    st.sampled_from(
        [
            "â€œ",
            "â€",
            "Ã",
            "©",
            "e",
            "\u0301",
            "\r",
            "\n",
            "\x00",
            "\x85",
            "\x0c",
            " ",
            "\t",
            "\ufeff",
            "ðŸ",
            "ﬁ",
        ]
    )
).map("".join)
texts = st.text() | damaged


def run(texts: list[str], config: CleaningConfig = GENTLE) -> tuple[list[str], CleaningReport]:
    report = CleaningReport()
    documents = [Document(text, f"t#{number}") for number, text in enumerate(texts, start=1)]
    return [document.text for document in clean(documents, config, report)], report


@pytest.mark.parametrize("name", ["tinyshakespeare.txt", "the-verdict.txt", "fairytales.txt"])
def test_clean_texts_pass_without_a_byte_changed(shared_data: Path, name: str):
    documents = list(read_text(shared_data / name))
    report = CleaningReport()
    assert list(clean(documents, GENTLE, report)) == documents
    assert not report.repaired
    assert not report.dropped


def test_double_encoding_in_a_real_sample_is_repaired(shared_data: Path):
    report = CleaningReport()
    cleaned = "".join(
        d.text for d in clean(read_text(shared_data / "tinystories-sample.txt"), GENTLE, report)
    )
    assert "â€œ" not in cleaned
    assert "â€™" not in cleaned
    assert "“" in cleaned
    assert report.repaired == {"characters encoded twice": 84}
    assert report.documents_kept == report.documents_read == 1_051


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("It is â€œfineâ€\x9d, sheâ€™s sure", "It is “fine”, she’s sure"),
        ("cafÃ© â‚¬", "café €"),
        ("one\r\ntwo\rthree\x0cfour", "one\ntwo\nthree\nfour"),
        ("a\x00b\x07c\x7fd\tend\n", "abcd\tend\n"),
        ("cafe\u0301", "café"),
        ("‘curled’ “quotes” &amp; ﬁ ² Ａ …", "‘curled’ “quotes” &amp; ﬁ ² Ａ …"),
        ("\x1b[1mbold", "[1mbold"),
        ("👩‍🚀 नमस्ते", "👩‍🚀 नमस्ते"),
    ],
)
def test_gentle_repairs(before, after):
    assert repair(before)[0] == after


@settings(max_examples=300, deadline=None)
@given(texts, st.booleans())
def test_repairing_twice_changes_nothing_more(text, strict):
    once, _ = repair(text, strict=strict)
    assert repair(once, strict=strict) == (once, set())
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in once)


@settings(max_examples=50, deadline=None)
@given(st.lists(texts, max_size=8), st.sampled_from(["off", "gentle", "strict"]))
def test_cleaning_is_deterministic_idempotent_and_adds_up(texts, mode):
    config = CleaningConfig(mode=mode, min_words=2)
    once, report = run(texts, config)
    assert run(texts, config)[0] == once
    assert run(once, config)[0] == once
    assert report.documents_read == len(texts)
    assert report.documents_kept == len(once)
    assert report.characters_kept == sum(map(len, once))
    assert report.documents_read - report.documents_kept == sum(
        what.documents for what in report.dropped.values()
    )


def test_blank_documents_and_exact_duplicates_are_dropped():
    kept, report = run(["one", " \n", "two", "one\n", "one", ""])
    assert kept == ["one", "two"]
    assert report.dropped["blank"].examples == ["t#2", "t#6"]
    assert report.dropped["the same as an earlier one"].documents == 2


def test_pieces_are_repaired_but_never_dropped():
    pieces = [Document("same\r\n", "book", 0, 0.5), Document("same\r\n", "book", 0.5, 1)]
    report = CleaningReport()
    cleaned = list(clean([*pieces, *pieces], STRICT, report))
    assert [piece.text for piece in cleaned] == ["same\n"] * 4
    assert [piece.ends for piece in cleaned] == [0.5, 1, 0.5, 1]
    assert (report.documents_read, report.documents_kept) == (2, 2)


def test_off_changes_nothing_but_counts():
    texts = ["", "a\r\n", "a\r\n", "\x00"]
    kept, report = run(texts, CleaningConfig(mode="off"))
    assert kept == texts
    assert report.documents_kept == 4


def story(words: int, name: str = "Ada") -> str:
    return " ".join(f"{name}{n} went{n} to{n} lamp{n * n}" for n in range(words // 4)) + "."


class TestStrict:
    def test_white_space(self):
        (kept,), _ = run([story(200) + "  and   \t then  \n\n\n\nit ended."], STRICT)
        assert kept == story(200) + " and then\n\nit ended."

    def test_short_documents_go(self):
        kept, report = run([story(48), story(52)], STRICT)
        assert kept == [story(52)]
        assert "shorter than 50 words" in report.dropped

    def test_repetition_goes(self):
        menu = "\n".join([f"item number {n} of the list" for n in range(10)] * 2)
        chant = story(60) + " the lamp is lit" * 20
        kept, report = run([menu, chant, story(100)], STRICT)
        assert kept == [story(100)]
        assert set(report.dropped) == {
            "repeats itself: duplicate lines",
            "repeats itself: the same 2 words again and again",
        }
        assert len(run([menu, chant], CleaningConfig(mode="strict", repetition=False))[0]) == 2

    def test_near_duplicates_go(self):
        changed = story(400).replace("lamp81", "candle")
        kept, report = run([story(400), changed, story(400, "Bo")], STRICT)
        assert kept == [story(400), story(400, "Bo")]
        assert report.dropped["nearly the same as an earlier one"].examples == ["t#2"]
        assert len(run([story(400), changed], CleaningConfig(mode="strict", near_duplicates=0))[0]) == 2


def test_the_report_speaks_and_counts():
    _, report = run(["one", "one", "cafÃ©"])
    assert report.lines() == [
        "2 of 3 documents kept, 7 of 11 characters (gentle).",
        "Repaired in 1 document: characters encoded twice.",
        "Dropped 1 document (3 characters): the same as an earlier one. For example t#2.",
    ]
    assert report.to_dict()["dropped"]["the same as an earlier one"]["examples"] == ["t#2"]
    assert report.to_dict()["repaired"] == {"characters encoded twice": 1}


def test_examples_are_few():
    _, report = run(["one"] * 9)
    assert report.lines()[-1].endswith("For example t#2, t#3, t#4, ....")


def test_the_config_comes_from_toml_and_is_checked():
    assert configs.from_dict(CleaningConfig, {"mode": "strict", "min_words": 9}, origin="t").min_words == 9
    for wrong in ({"mode": "hard"}, {"min_words": -1}, {"near_duplicates": 1.5}, {"minwords": 3}):
        with pytest.raises(ConfigError):
            configs.from_dict(CleaningConfig, wrong, origin="t")
    with pytest.raises(ConfigError, match="off, gentle or strict"):
        CleaningConfig(mode="hard")  # pyright: ignore[reportArgumentType]


@given(text=st.text(st.characters(codec="ascii") | st.sampled_from("–—‘’“”…")))
def test_ftfy_would_not_change_lines_that_skip_it(text: str):
    """Asking ftfy about every line with a curly quotation mark took most of the time of cleaning."""
    assert ftfy.fix_text(text, _ftfy_config()) == text


@given(text=texts | st.lists(st.sampled_from("aØÙŒœÃÂβ°–—‘’“”…€™ \n")).map("".join))
def test_lines_are_repaired_as_ftfy_repairs_them(text: str):
    expected = "\n".join(ftfy.fix_text(line, _ftfy_config()) for line in text.split("\n"))
    assert _mend_encoding(text) == expected
