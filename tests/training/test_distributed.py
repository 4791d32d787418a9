"""Two real processes, joined by gloo on this machine, train the same as one process."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glassgpt.device import World
from glassgpt.training import distributed

# Rank 1 alone is asked to stop, and its own evaluation would say something else: both must decide alike.
TRAIN = """
    import sys
    import numpy as np
    import torch
    import torch.nn.functional as F
    from safetensors.torch import save_file

    from glassgpt.dataset.batches import Batches
    from glassgpt.dataset.shards import TokenSplit
    from glassgpt.device import seed_everything, world_from_environment
    from glassgpt.evaluation.loss import Evaluation
    from glassgpt.model.config import ModelConfig
    from glassgpt.model.gpt import GPT
    from glassgpt.training import distributed
    from glassgpt.training.config import TrainingConfig
    from glassgpt.training.events import StepsFinished
    from glassgpt.training.optimizers import make_optimizer
    from glassgpt.training.jobs import Job
    from glassgpt.training.trainer import train

    torch.set_num_threads(1)
    world = world_from_environment()
    cpu = torch.device("cpu")
    config = TrainingConfig(steps=30, batch_size=4, accumulate=2, warmup_steps=2, evaluate_every=2, patience=3)
    seed_everything(config.seed)
    model = GPT(ModelConfig(vocab_size=17, context_length=12, n_layer=2, n_head=2, n_embd=16)).double()
    ids = np.random.default_rng(0).integers(0, 17, 400).astype("<u2")
    split = TokenSplit("train", (ids,), np.array([0, 400]), 400, 1)
    events, saved = [], []
    best = iter([5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0])

    def loss(model, inputs, targets):
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    def measure():
        mine = next(best)
        return Evaluation(mine if world.is_main else 1.0 / mine, 1, 1.0)

    updates = 0

    def stop():
        global updates
        updates += 1
        return updates > 9 and world.rank == world.size - 1

    with distributed.process_group(world, cpu):
        name = distributed.from_main(lambda: f"named by {world.rank}", world)
        assert name == "named by 0", name
        mean = distributed.average(torch.tensor(float(world.rank)), world).item()
        assert mean == (world.size - 1) / 2, mean
        numbers = distributed.average_numbers({"b": 1.0, "a": float(world.rank)}, world, cpu)
        assert numbers == {"a": mean, "b": 1.0}, numbers
        assert distributed.total(3 + world.rank, world, cpu) == (3 if world.size == 1 else 7)
        job = Job(
            model=model, optimizer=make_optimizer(model, config), config=config, steps=config.steps, loss=loss,
            batches=Batches(split, 12, config.batch_size, world=world), evaluate=measure,
            save=lambda state, best: saved.append(state.progress.step),
            listeners=[events.append] if world.is_main else [], stop=stop, world=world,
        )
        finished = train(job)
        distributed.barrier(world)
    assert (finished.reason, finished.step, finished.best_step) == ("interrupted", 9, 8), finished
    assert saved == ([0, 2, 4, 6, 8, 9] if world.is_main else []), saved
    log = [(event.loss, event.gradient_norm, event.tokens) for event in events if type(event) is StepsFinished]
    weights = {name: weight.detach().contiguous() for name, weight in model.state_dict().items()}
    if world.is_main:
        weights["log"] = torch.tensor(log, dtype=torch.float64)
    save_file(weights, f"{sys.argv[1]}/{world.size}-{world.rank}.safetensors")
"""


def start(script: Path, rank: int, size: int, port: int) -> subprocess.Popen[str]:
    """Start one process as torchrun would."""
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_PORT": port}
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{key: str(n) for key, n in place.items()}}
    command = [sys.executable, str(script), str(script.parent)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(TRAIN))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(script, rank, 2, port) for rank in range(2)]
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
    runpy.run_path(str(script))
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    alone, first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("1-0", "2-0", "2-1"))
    torch.testing.assert_close(first.pop("log"), alone.pop("log"), rtol=1e-6, atol=0)
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, rtol=1e-8, atol=1e-10)


def test_with_one_process_nothing_happens():
    world, cpu = World(), torch.device("cpu")
    with distributed.process_group(world, cpu):
        assert not torch.distributed.is_initialized()
        assert distributed.average(torch.tensor(0.5), world).item() == 0.5
        assert distributed.any_rank(True, world, cpu)
        assert not distributed.any_rank(False, world, cpu)
        assert distributed.from_main(lambda: [1], world) == [1]
        distributed.barrier(world)


def test_gradients_of_frozen_weights_are_not_asked_for():
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad = False
    model(torch.ones(1, 2)).sum().backward()
    distributed.average_gradients(model, World())
    assert model.bias.grad is None
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0]]
