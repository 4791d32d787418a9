"""A training that cannot fit is refused with its numbers before anything is allocated."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from glassgpt.errors import MemoryFullError
from glassgpt.model.config import ModelConfig
from glassgpt.training.config import TrainingConfig
from glassgpt.training.fits import needed, refuse_what_does_not_fit

CPU = torch.device("cpu")
TINY = ModelConfig(vocab_size=300, context_length=16, n_layer=1, n_head=2, n_embd=16)


@pytest.mark.parametrize(
    ("model", "training", "way_out"),
    [
        ({"n_layer": 10**8}, {}, "Make the model smaller: lower --model.n-embd"),
        ({"n_embd": 10**7}, {}, "Make the model smaller"),
        ({"vocab_size": 10**12}, {}, "the vocabulary"),
        ({"n_layer": 2**62, "n_embd": 2**62}, {}, "the vocabulary"),
        ({}, {"batch_size": 10**10}, "a smaller --training.batch-size, with --training.accumulate"),
        ({"context_length": 10**10}, {"batch_size": 1}, "Take a shorter --model.context-length"),
    ],
)
def test_the_sentence_has_the_numbers_and_the_way_out(model: dict, training: dict, way_out: str) -> None:
    shape = {"vocab_size": 300, "context_length": 16, "n_layer": 1, "n_head": 2, "n_embd": 16} | model
    config = TrainingConfig(**training)
    with pytest.raises(
        MemoryFullError, match=r"needs about [\d.e+]+ \wB of memory .*are free on cpu"
    ) as refused:
        refuse_what_does_not_fit(ModelConfig(**shape), config, CPU, rows=config.batch_size)
    assert way_out in str(refused.value)


def test_what_fits_is_let_through_and_frozen_weights_need_no_optimizer() -> None:
    config = TrainingConfig()
    refuse_what_does_not_fit(TINY, config, CPU, rows=4)
    whole, frozen = (needed(TINY, config, CPU, rows=4, trained=trained) for trained in (None, 10))
    assert (frozen.gradients, frozen.optimizer) == (40, 80)
    assert whole.optimizer == 2 * whole.gradients == 2 * whole.weights > 80


HOSTILE = """
    import contextlib, os, resource, sys
    from glassgpt.cli.main import main
    import glassgpt.pretraining.run
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    shape = ["--model.n-head=2", "--training.precision=float32", "--training.threads=1", "--training.steps=1",
             "--tokenizer.kind=char"]
    for option in sys.argv[1:]:
        try:
            main(["train", "text.txt", *shape, option])
        except SystemExit as end:
            print(option, end.code, file=sys.stderr)
"""


def test_absurd_sizes_from_the_command_line(tmp_path: Path) -> None:
    """`--model.context-length 100000` on a small text once took all memory before any check."""
    (tmp_path / "text.txt").write_text("a cat and a dog sat on a log. " * 400)
    options = ("--model.context-length=100000", "--model.n-layer=100000000", "--model.n-embd=2000000",
               "--training.batch-size=1000000000")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HOSTILE), *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    for option in options:
        assert f"{option} 1" in done.stderr, done.stderr
    said = " ".join(done.stderr.split())
    assert said.count("This training needs about") == 4
    assert not (tmp_path / "runs").exists()
