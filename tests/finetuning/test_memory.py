"""Each kind, and a resume, refuses what does not fit before allocating it, and names a way out that exists."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glassgpt.cli.main import main
from glassgpt.errors import MemoryFullError
from glassgpt.finetuning import building, distill
from glassgpt.finetuning.config import DistillConfig
from glassgpt.finetuning.distill import soft_loss, soft_loss_bytes
from glassgpt.finetuning.losses import log_probabilities, log_probabilities_bytes
from glassgpt.finetuning.run import resume_finetuning, start_finetuning
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import TrainingBytes, training_bytes
from glassgpt.training import fits
from tests.finetuning.test_kinds import KINDS, finetune, training
from tests.model.test_summary import LivePeak

Free = Callable[[int], None]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    """Let the machine have this number of bytes left."""
    return lambda size: monkeypatch.setattr(fits, "free_memory", lambda _: size)


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> list[TrainingBytes]:
    """Collects what was estimated."""
    found: list[TrainingBytes] = []
    ask = building.refuse_training

    def noting(need: TrainingBytes, *arguments: object) -> None:
        found.append(need)
        ask(need, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(building, "refuse_training", noting)
    return found


def refusal_of(kind: str) -> str:
    with pytest.raises(MemoryFullError, match=r"This training needs about .* are free on cpu") as refused:
        finetune(kind)
    assert not list(Path("runs").glob(f"{kind}*"))
    return str(refused.value)


def options_in(text: str) -> set[str]:
    return set(re.findall(r"--[a-z][\w.-]*\w", text))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_with_options_that_the_command_has(
    kind: str,
    here: Path,
    free: Free,
    needs: list,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no option is cut in two
    free(1000)
    too_large = refusal_of(kind)
    (need,) = needs
    free(need.total - 1)
    batch_too_large = refusal_of(kind)
    with pytest.raises(SystemExit):
        main(["finetune", kind.partition("-")[0], "--help-all"])
    there = options_in(capsys.readouterr().out)
    for said in (too_large, batch_too_large):
        assert options_in(said) <= there, said
        assert options_in(said) or fits.ELSEWHERE in said
    assert "a smaller --training.batch-size" in batch_too_large
    free(need.total)
    finetune(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft-lora", "grpo", "distill"])
def test_a_resume_checks_memory_too_and_names_no_setting(kind: str, here: Path, free: Free) -> None:
    """Resumed fine-tuning once allocated memory without a check."""
    run = finetune(kind).directory
    free(1000)
    with pytest.raises(MemoryFullError, match="A run that has begun keeps its settings") as refused:
        resume_finetuning(kind)
    assert not options_in(str(refused.value))
    free(2**40)
    assert resume_finetuning(kind).directory.path == run.path


def test_a_student_is_refused_before_it_is_made(
    here: Path, free: Free, needs: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(config: ModelConfig) -> None:
        raise AssertionError(config)

    monkeypatch.setattr(distill, "GPT", made)
    wide = DistillConfig(layers=10**6, width=2**20, training=KINDS["distill"][0].training)  # pyright: ignore[reportArgumentType]
    with pytest.raises(MemoryFullError, match="fewer --layers, or a smaller --width"):
        start_finetuning("base", (), wide, name="wide")


@pytest.mark.slow
def test_a_copy_of_the_base_counts_where_there_is_one(here: Path, free: Free, needs: list) -> None:
    config, data = KINDS["grpo"]
    for beta in (0.02, 0.0):
        start_finetuning("base", data, dataclasses.replace(config, beta=beta), name=f"beta-{beta}")  # pyright: ignore[reportCallIssue]
    finetune("grpo-lora")
    copied, alone, corrected = needs
    assert copied.beside == copied.gradients > 0
    assert alone.beside == corrected.beside == 0


@pytest.mark.slow
def test_a_frozen_model_keeps_no_activations(here: Path, needs: list) -> None:
    """A head on a frozen base was once refused because the activations of all blocks were counted."""
    for name in ("classify", "classify-last"):
        config, data = KINDS[name]
        large = dataclasses.replace(config, training=training(batch_size=32, steps=1))
        start_finetuning("base", data, large, name=name)
    whole, last = needs
    kept = [need.activations - fits.HEAP for need in (whole, last)]
    assert kept[1] < 0.8 * kept[0]


SMALL = {"context_length": 128, "n_layer": 2, "n_head": 2, "n_embd": 32}


@pytest.mark.parametrize(("vocab_size", "rows"), [(2000, 4), (6000, 20)])
def test_the_logits_of_both_models_are_counted(vocab_size: int, rows: int) -> None:
    config = ModelConfig(vocab_size=vocab_size, **SMALL)
    student, teacher = GPT(config), GPT(config).requires_grad_(False).eval()
    ids = torch.randint(vocab_size, (rows, 128))
    with LivePeak() as memory:
        soft_loss(student, teacher, ids, ids, DistillConfig()).backward()
    loss = soft_loss_bytes(vocab_size, rows * 128)
    estimated = training_bytes(config, batch_size=rows, loss=loss).activations
    assert 0.85 < memory.peak / estimated < 1.15


def test_the_logits_of_answers_are_counted() -> None:
    config = ModelConfig(vocab_size=6000, **SMALL)
    model, ids = GPT(config), torch.randint(6000, (4, 128))
    with LivePeak() as memory:
        log_probabilities(model, ids, ids).sum().backward()
    loss = log_probabilities_bytes(ids.numel(), config.vocab_size)
    estimated = training_bytes(config, batch_size=4, loss=loss).activations
    assert 0.85 < memory.peak / estimated < 1.15
