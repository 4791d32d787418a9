"""`training.compile`: the same training, through torch.compile. The first call takes most of a minute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from glassgpt import config as configs
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.pretraining.run import start_run
from glassgpt.runs.config import RunConfig
from glassgpt.runs.opening import open_run
from glassgpt.runs.records import read_events
from glassgpt.training.events import StepsFinished
from glassgpt.training.trainer import compile_blocks

STEADY = {"precision": "float32", "threads": 1}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_training_is_the_same_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path))
    losses = {}
    for compiled in (False, True):
        values = {
            "corpus": {"sources": ["builtin:tinytales:200"]},
            "tokenizer": {"vocab_size": 300},
            "model": {"context_length": 32, "n_layer": 2, "n_head": 2, "n_embd": 32},
            "training": {"steps": 12, "evaluate_every": 6, "log_every": 1, "compile": compiled, **STEADY},
            "samples": {"max_tokens": 4},
        }
        run = start_run(configs.from_dict(RunConfig, values, origin="test"), name=f"compiled-{compiled}")
        events = read_events(run.directory.metrics)
        losses[compiled] = [event.loss for event in events if isinstance(event, StepsFinished)]
        open_run(run.directory.name)  # its weights have the plain names
    assert len(losses[True]) == 12
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hooks_added_later_run_in_a_compiled_block() -> None:
    """A hook on a part of a compiled block once had no effect when it was added after the first call."""
    model = GPT(ModelConfig(vocab_size=31, context_length=12, n_layer=2, n_head=2, n_embd=16)).eval()
    compile_blocks(model)
    ids = torch.randint(31, (2, 8))
    with torch.no_grad():
        plain = model(ids)
        handle = model.blocks[0].mlp.up.register_forward_hook(lambda module, inputs, output: 2 * output)
        assert not torch.equal(model(ids), plain)
        handle.remove()
        assert torch.equal(model(ids), plain)
