"""Adapters on disk, as PEFT keeps them: `adapter_config.json` and `adapter_model.safetensors`.

The library `peft` loads such a folder onto the exported base (`glassgpt export RUN --to hf`) with equal logits, and
an adapter that it has made is merged here. GPT-2 has one matrix for queries, keys and values; there our three
corrections become one of three times the rank, whose second half is block-diagonal.

Legend: R rank, C inputs, N outputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassgpt import files
from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import LoRALinear, lora_layers, places, rows_of_parts
from glassgpt.architectures.families import family_of, lora_module
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# What PEFT can do and a sum into the matrices cannot hold.
UNKNOWN = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters")


def save_adapter(folder: Path, model: GPT, config: LoRAConfig, *, base: str) -> None:
    """Write the corrections on `model` into a sealed folder; `base` names what they belong on."""
    tensors: dict[str, Tensor] = {}
    targets: set[str] = set()
    ranks: dict[str, int] = {}
    for name, layer in lora_layers(model).items():
        number = int(name.split(".")[1])
        for module, parts in _by_module(model.config, number, list(layer.parts)):
            alone = lora_module(model.config, number, "key") != lora_module(model.config, number, "query")
            if alone or parts[0] not in ("query", "key", "value"):
                a_RC, b_NR = layer.down[parts[0]], layer.up[parts[0]]
            else:
                a_RC, b_NR = _fused(layer, parts)
            tensors[f"{PREFIX}{module}.lora_A.weight"] = a_RC.detach().cpu().contiguous()
            tensors[f"{PREFIX}{module}.lora_B.weight"] = b_NR.detach().cpu().contiguous()
            short = ".".join(module.split(".")[-2:])
            targets.add(short)
            if len(a_RC) != config.rank:
                ranks[short] = len(a_RC)
    about = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": sorted(targets),
        "rank_pattern": ranks,
        "alpha_pattern": {short: config.alpha * rank / config.rank for short, rank in ranks.items()},
        "bias": "none",
        "fan_in_fan_out": family_of(model.config) == "gpt2",
        "inference_mode": True,
    }
    with files.atomic_directory(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS)
        (temporary / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def merge_adapter(model: GPT, folder: Path) -> GPT:
    """Add an adapter's corrections into the model's matrices; return the same model.

    Raises `ModelError` when the folder is no whole adapter, or one that does not fit the model.
    """
    about, tensors = _read(folder)
    for number, block in enumerate(model.blocks):
        for owner, layer in places(block):
            rows = rows_of_parts(model.config, layer)
            weight_NC = getattr(owner, layer).weight
            for module, parts in _by_module(model.config, number, list(rows)):
                a_RC = tensors.pop(f"{PREFIX}{module}.lora_A.weight", None)
                b_NR = tensors.pop(f"{PREFIX}{module}.lora_B.weight", None)
                if a_RC is None or b_NR is None:
                    continue
                into_NC = weight_NC if len(parts) == len(rows) else weight_NC[rows[parts[0]]]  # a view
                if (len(b_NR), a_RC.shape[1]) != tuple(into_NC.shape):
                    raise _misfit(folder, module)
                change_NC = (b_NR.float() @ a_RC.float()) * _scale(about, module, len(a_RC))
                into_NC += change_NC.to(device=into_NC.device, dtype=into_NC.dtype)
    if tensors:
        raise _misfit(folder, next(iter(tensors)))
    return model


def _by_module(config: ModelConfig, layer: int, parts: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules of a family's model that these parts are in, and which of them each holds."""
    modules: dict[str, list[str]] = {}
    for part in parts:
        modules.setdefault(lora_module(config, layer, part), []).append(part)
    yield from modules.items()


def _fused(layer: LoRALinear, parts: list[str]) -> tuple[Tensor, Tensor]:
    """Return A (R, C) and B (N, R) over all rows of a layer that make the corrections of these parts at once."""
    a_RC = torch.cat([layer.down[part] for part in parts])
    b_NR = a_RC.new_zeros(layer.base.out_features, len(a_RC))
    first = 0
    for part in parts:
        rank = len(layer.down[part])
        b_NR[layer.parts[part], first : first + rank] = layer.up[part]
        first += rank
    return a_RC, b_NR


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        about, tensors = files.read_json(folder / CONFIG), load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"{folder} is not a whole adapter: it needs {CONFIG} and {WEIGHTS} ({error})."
        ) from error
    special = [name for name in UNKNOWN if about.get(name)]
    if about.get("peft_type") != "LORA" or special or about.get("bias", "none") != "none":
        what = special[0] if special else "another kind than plain LoRA"
        raise ModelError(
            f"The adapter {folder} has {what}, which cannot be added into a model's matrices here."
        )
    return about, tensors


def _scale(about: dict[str, Any], module: str, rank: int) -> float:
    alphas = about.get("alpha_pattern") or {}
    alpha = next((value for key, value in alphas.items() if module.endswith(key)), about["lora_alpha"])
    return alpha / (math.sqrt(rank) if about.get("use_rslora") else rank)


def _misfit(folder: Path, name: str) -> ModelError:
    return ModelError(f"The adapter {folder} does not fit this model: there is no place for {name}.")
