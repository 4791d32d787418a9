"""Every setting of training has the same effect in each kind of fine-tuning as in pretraining."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from torch import Tensor

from glassgpt import config as configs
from glassgpt.adapters.config import LoRAConfig
from glassgpt.finetuning.config import KINDS as KNOWN
from glassgpt.finetuning.config import RecordsConfig
from glassgpt.finetuning.run import resume_finetuning, start_finetuning
from glassgpt.model.gpt import Block
from tests.finetuning.test_kinds import KINDS
from tests.fixtures.quick import quick


@pytest.fixture
def block_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts calls of blocks with gradients: the first call, and the second one for the backward pass."""
    calls: Counter[str] = Counter()
    forward = Block.forward

    def counted(self: Block, x_BTC: Tensor, *rest: object) -> Tensor:
        learns = x_BTC.requires_grad or any(weight.requires_grad for weight in self.parameters())
        if (
            self.training and torch.is_grad_enabled() and learns
        ):  # a frozen block has nothing to compute again
            calls["backward" if torch._C._current_graph_task_id() != -1 else "forward"] += 1
        return forward(self, x_BTC, *rest)

    monkeypatch.setattr(Block, "forward", counted)
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_computed_twice_where_that_is_asked_for(
    kind: str, here: Path, block_calls: Counter[str]
) -> None:
    """`--training.checkpoint-activations` was once accepted by every kind without effect: only pretraining read it."""
    config, data = KINDS[kind]
    training = dataclasses.replace(config.training, steps=2, checkpoint_activations=True)
    start_finetuning("base", data, dataclasses.replace(config, training=training), name=kind)
    assert block_calls["backward"] == block_calls["forward"] > 0


# The common loop reads what every kind shares with pretraining; these settings are read when they decide something.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"epochs": 1.0, "seconds": 0.2, "schedule": "wsd"},
    "muon": {"optimizer": "muon", "patience": 1},
}
COPYING = ("dataclasses", "copy", "glassgpt.config")


def watched(config: Any, seen: set[str], prefix: str = "") -> Any:
    """Return the same config, of a class that records which of its fields are read other than by copying."""
    names = {field.name for field in dataclasses.fields(config)}

    class Watched(type(config)):
        def __getattribute__(self, name: str) -> Any:
            caller = sys._getframe(1)
            copied = caller.f_globals["__name__"] in COPYING or caller.f_code.co_name == "__post_init__"
            if name in names and not copied:
                seen.add(prefix + name)
            return super().__getattribute__(name)

    parts = {name: getattr(config, name) for name in names}
    parts = {name: watched(part, seen, f"{prefix}{name}.") if dataclasses.is_dataclass(part) else part
             for name, part in parts.items()}  # fmt: skip
    return Watched(**parts)


def offered(config: Any, prefix: str = "") -> set[str]:
    """Return the dotted names of all settings of a config."""
    found: set[str] = set()
    for field in dataclasses.fields(config):
        part, name = getattr(config, field.name), prefix + field.name
        found |= offered(part, f"{name}.") if dataclasses.is_dataclass(part) else {name}
    return found


@pytest.mark.parametrize("kind", quick(["sft", "dpo", "grpo", "classify", "distill"], "sft"))
def test_a_kind_reads_every_setting_that_it_offers(
    kind: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--training.order` was once offered by all five kinds and read by none, like `--samples.*` of `classify`.

    A field counts as read when a module other than those that copy and check configs reads it in one of a few runs.
    """
    seen: set[str] = set()
    config, data = KINDS[f"{kind}-lora" if f"{kind}-lora" in KINDS else kind]
    for name, settings in VARIANTS.items():
        training = dataclasses.replace(config.training, steps=2, **settings)
        varied = dataclasses.replace(config, training=training)
        if name == "muon" and isinstance(varied, RecordsConfig):
            varied = dataclasses.replace(varied, lora=LoRAConfig())
        choice = watched(varied, seen)
        monkeypatch.setitem(KNOWN._ours, kind, dataclasses.replace(KNOWN[kind], config=type(choice)))
        start_finetuning("base", data, choice, name=name)
    assert offered(config) - seen == set()


@pytest.mark.parametrize("kind", quick(["sft", "grpo", "classify", "distill"], "sft"))
def test_an_old_run_with_retired_settings_continues(kind: str, here: Path) -> None:
    """In 0.1.0 every kind had and stored all settings of pretraining, an adapter, and samples."""
    config, data = KINDS[kind]
    run = start_finetuning("base", data, config, name="old").directory
    values = configs.read_toml(run.finetune)
    values["training"] |= {"order": "random", "evaluate_tokens": 65536}
    values["samples"] = {"count": 2, "max_tokens": 12, "temperature": 0.0, "seed": 7}
    values["lora"] = configs.to_dict(LoRAConfig())
    values["validation"] = 0.1
    run.finetune.write_text(tomli_w.dumps(values))
    assert resume_finetuning("old").finished.step == 6
