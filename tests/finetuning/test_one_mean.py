"""An update is one mean over everything that counts, however its rows are divided into batches and processes.

SFT once averaged each batch alone and then those averages, without weights: a batch with two short answers counted as
much as one with two long ones, so accumulation or a second process changed the training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glassgpt.finetuning.run import start_finetuning
from glassgpt.runs.records import read_events
from glassgpt.training.events import Evaluated, StepsFinished
from tests.finetuning.test_kinds import KINDS, weights_of
from tests.fixtures.quick import quick

# With this epsilon an update is proportional to its gradient: AdamW's usual epsilon enlarges rounding errors to whole
# steps.
STEPS = {
    "steps": 3,
    "evaluate_every": 3,
    "checkpoint_every": 3,
    "log_every": 1,
    "epsilon": 0.1,
    "batch_size": 4,
}


def write_ragged(folder: Path) -> None:
    """Records with answers of 1 to 40 words, so that rows have from a few targets to a full context of them."""
    words = ["boat", "cake", "kite", "drum", "hat", "ball", "shoe", "spoon", "lamp", "bell"]
    asked = [{"instruction": f"Name {n}.", "output": " ".join(words[(n + k) % 10] for k in range(1 + n * n % 41))}
             for n in range(40)]  # fmt: skip
    (folder / "asked.json").write_text(json.dumps(asked))
    liked = [{"prompt": r["instruction"], "chosen": r["output"], "rejected": "No."} for r in asked]
    (folder / "liked.json").write_text(json.dumps(liked))


def train(kind: str, name: str, **training: object) -> None:
    config, data = KINDS[kind]
    changed = dataclasses.replace(config.training, **{**STEPS, **training})
    start_finetuning("base", data, dataclasses.replace(config, training=changed), name=name)


def assert_same_training(folder: Path, one: str, other: str) -> None:
    first, second = (read_events(folder / f"runs/{name}/metrics.jsonl") for name in (one, other))
    losses = [[event.loss for event in events if isinstance(event, (StepsFinished, Evaluated))]
              for events in (first, second)]  # fmt: skip
    norms = [[event.gradient_norm for event in events if isinstance(event, StepsFinished)]
             for events in (first, second)]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0], rel=2e-5, abs=1e-6)
    assert norms[1] == pytest.approx(norms[0], rel=2e-4)
    assert max(norms[0]) > 0.1  # otherwise there was nothing to compare
    expected, found = (weights_of(folder / f"runs/{name}") for name in (one, other))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    "kind", quick(["sft", "sft-lora", "grpo", "grpo-lora", "dpo", "classify", "distill"], "sft-lora")
)
def test_accumulating_trains_what_a_large_batch_does(kind: str, here: Path) -> None:
    """In two parts each batch has several rows to average; in four it has one row."""
    write_ragged(here)
    train(kind, "large")
    for parts in (2, 4) if kind in ("sft", "grpo") else (2,):
        train(kind, f"small-{parts}", batch_size=4 // parts, accumulate=parts)
        assert_same_training(here, "large", f"small-{parts}")


SCRIPT = """
import os, sys
from tests.finetuning.test_one_mean import train
for kind, port in (word.split("=") for word in sys.argv[1:]):
    os.environ["MASTER_PORT"] = port
    train(kind, f"shared-{kind}")
"""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.mark.slow
def test_two_processes_train_what_one_does(here: Path) -> None:
    write_ragged(here)
    kinds = ("sft-lora", "grpo", "dpo")
    tasks = [f"{kind}={port}" for kind, port in zip(kinds, free_ports(len(kinds)), strict=True)]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
             "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *tasks],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for kind in kinds:
            train(kind, kind)
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    for kind in kinds:
        assert_same_training(here, kind, f"shared-{kind}")
