"""What is sent names no folder of the machine, and texts stay as they are."""

from __future__ import annotations

import pytest

from glassgpt.runs.sending import public, public_path


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("/home/ada/garden.txt", "garden.txt"),
        ("/home/ada/my texts/a.txt", "a.txt"),
        ("~/a/b.txt", "b.txt"),
        ("../clients/b.txt", "b.txt"),
        (r"C:\Users\ada\b.txt", "b.txt"),
        ("texts/garden.txt", "texts/garden.txt"),
        ("builtin:tinytales:60:1", "builtin:tinytales:60:1"),
        ("hf:owner/name:train#text", "hf:owner/name:train#text"),
        ("step 3/4 of one and/or two", "step 3/4 of one and/or two"),
        ("</s>", "</s>"),
    ],
)
def test_paths_become_names(text: str, without: str) -> None:
    assert public_path(text) == without
    assert public({"sources": [{"name": text}], "data": [text]}) == {
        "sources": [{"name": without}],
        "data": [without],
    }
    assert public({"command": [f"--config={text}"]}) == {"command": [f"--config={without}"]}


def test_a_setting_that_is_no_path_stays_as_it_is() -> None:
    assert public({"pattern": r"\\s+|\\p{L}+"}) == {"pattern": r"\\s+|\\p{L}+"}


def test_sentences_lose_the_folders_in_them() -> None:
    notes = ["Read from /home/ada/my/model.bin, and C:\\Users\\ada\\x.json.", "It ends with </s> and/or 3/4."]
    assert public({"notes": notes}) == {
        "notes": ["Read from model.bin, and x.json.", "It ends with </s> and/or 3/4."]
    }


@pytest.mark.parametrize("key", ["prompts", "labels", "stop", "words"])
def test_texts_stay_as_they_are(key: str) -> None:
    """A classifier with the label /r/python was refused after it was packed: its label had become python."""
    texts = ["/r/python", "</s>", "~/x", "a /b/c d"]
    assert public({"chat": {key: texts}}) == {"chat": {key: texts}}
