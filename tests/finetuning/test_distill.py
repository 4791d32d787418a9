"""A student learns what its teacher knows, and `alpha` says from whom: the teacher, or the text itself."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path

import pytest

from glassgpt.finetuning.config import DistillConfig
from glassgpt.finetuning.run import start_finetuning
from glassgpt.pretraining.run import start_run
from glassgpt.runs.records import read_events
from glassgpt.training.events import Evaluated
from tests.finetuning.conftest import BASE
from tests.finetuning.test_kinds import KINDS

PATTERN = "seven rings of gold, six of tin. " * 700


@pytest.fixture
def teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Train a teacher on the pattern for some steps, and return a function that distills it to a final loss."""
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("GLASSGPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pattern.txt").write_text(PATTERN)

    def teacher(steps: int) -> float:
        config = dataclasses.replace(
            BASE,
            corpus=dataclasses.replace(BASE.corpus, sources=(str(tmp_path / "pattern.txt"),)),
            tokenizer=dataclasses.replace(BASE.tokenizer, kind="char", vocab_size=0),
            model=dataclasses.replace(BASE.model, context_length=24),
            training=dataclasses.replace(BASE.training, steps=steps, evaluate_every=steps, order="random"),
        )
        return start_run(config, name="teacher").finished.best_loss

    def student(alpha: float) -> float:
        config, _ = KINDS["distill"]
        assert isinstance(config, DistillConfig)
        training = dataclasses.replace(config.training, steps=80, evaluate_every=80, learning_rate=1e-2)
        config = dataclasses.replace(config, training=training, alpha=alpha)
        run = start_finetuning(
            "teacher", (), config, name=f"student-{alpha}", given=["training.learning_rate"]
        )
        return [e.loss for e in read_events(run.directory.metrics) if isinstance(e, Evaluated)][-1]

    return teacher, student


def unigram_entropy(text: str) -> float:
    return -sum(n / len(text) * math.log(n / len(text)) for n in Counter(text).values())


def test_a_student_learns_from_its_teacher_alone(teach) -> None:
    """With alpha 0 the text's next character is not a target: the student learns only from the teacher."""
    teacher, student = teach
    known = teacher(120)
    assert known < 0.2
    assert student(0.0) < 0.3 * unigram_entropy(PATTERN)


@pytest.mark.slow
def test_alpha_chooses_between_teacher_and_text(teach) -> None:
    """A teacher that knows almost nothing teaches almost nothing, but the text does."""
    teacher, student = teach
    known = teacher(1)
    assert known > unigram_entropy(PATTERN)
    from_teacher, from_text = student(0.0), student(1.0)
    assert from_teacher == pytest.approx(known, abs=0.3)
    assert from_text < 0.3 * unigram_entropy(PATTERN)
