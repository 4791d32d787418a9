"""Classifiers: texts that are too long are counted exactly, and damaged files are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassgpt.errors import RunError
from glassgpt.finetuning.classify import longer_than, open_classifier
from glassgpt.finetuning.config import ClassifyConfig, ShortTraining
from glassgpt.finetuning.run import start_finetuning
from glassgpt.interop.exports import export_run
from glassgpt.runs.opening import open_run


@pytest.fixture
def moods(here: Path) -> Path:
    training = ShortTraining(steps=1, epochs=0, batch_size=4, threads=1, precision="float32", device="cpu")
    return start_finetuning(
        "base", ("moods.jsonl",), ClassifyConfig(training=training), name="moods"
    ).directory.path


def test_only_texts_that_are_cut_are_counted():
    """A text that fills the context exactly is not cut; it was once counted among those that "may be cut"."""
    assert longer_than([range(31), range(32)], 32) is None
    assert longer_than([range(31), range(32), range(33)], 32) == (
        "1 of 3 texts is longer than the context of 32 tokens: only the beginning is read."
    )
    assert longer_than([range(40), range(33)], 32) == (
        "2 of 2 texts are longer than the context of 32 tokens: only the beginning is read."
    )


def test_asking_about_a_long_text_says_that_its_end_is_not_read(moods: Path):
    classifier, said = open_classifier(open_run("moods")), []
    long = "The boat is good. " * 100
    whole, cut = classifier.probabilities(["The boat is good.", long], said.append)
    context = classifier.model.config.context_length
    assert said == [
        f"1 of 2 texts is longer than the context of {context} tokens: only the beginning is read."
    ]
    assert whole.keys() == cut.keys()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("labels.json", "{}"),
        ("labels.json", "[1, 2]"),
        ("labels.json", '["glad", "glad"]'),
        ("labels.json", '["glad"]'),
        ("labels.json", '["glad", "sad", "angry"]'),  # not the labels that it has learned
        ("labels.json", '["glad", "s'),
        ("labels.json", "[" * 50_000),
        ("head.safetensors", ""),
        ("head.safetensors", "no weights"),
    ],
)
def test_a_damaged_file_of_a_classifier_is_named(moods: Path, file: str, content: str):
    run = open_run("moods")
    (moods / file).write_text(content)
    with pytest.raises(RunError, match=rf"{file} is damaged: .* Put the original back"):
        open_classifier(run)


def test_an_export_says_that_the_labels_stay_behind(moods: Path):
    """The export once looked like the classifier, but was only the language model inside it."""
    pytest.importorskip("transformers")
    exported = export_run("moods", "hf", output=moods.parent / "moods-hf")
    assert exported.notes[0].startswith("The labels are left out")
