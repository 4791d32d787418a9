"""Adapters on disk, in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

The library `peft` loads such a folder onto the exported base (`glassgpt export RUN --to hf`) with equal logits, and an
adapter made by `peft` can be merged here. GPT-2 has one matrix for queries, keys and values; there our three
corrections become one of three times the rank, and its B is block-diagonal.

Legend: R rank, C inputs, N outputs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from glassgpt import files
from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import LoRALinear, lora_layers, places, rows_of_parts
from glassgpt.architectures.families import family_of, lora_module
from glassgpt.architectures.stated import stated
from glassgpt.architectures.wrapping import PEFT as PREFIX
from glassgpt.architectures.wrapping import place_of, unwrap
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MOST_CONFIG = 1 << 20
"""Size in bytes of the largest settings file that is read."""
# Settings of PEFT that merging into the matrices can express, or that only matter while an adapter is trained. A new
# kind of correction comes with a new setting: a setting that is not named here is refused when it is switched on.
KNOWN = frozenset(
    {
        *(
            "r",
            "lora_alpha",
            "alpha_pattern",
            "rank_pattern",
            "use_rslora",
            "bias",
            "peft_type",
            "init_lora_weights",
        ),
        *(
            "task_type",
            "auto_mapping",
            "peft_version",
            "base_model_name_or_path",
            "revision",
            "inference_mode",
        ),
        *("target_modules", "exclude_modules", "lora_dropout", "fan_in_fan_out", "layers_to_transform"),
        *("layers_pattern", "megatron_core", "qalora_group_size", "runtime_config", "ensure_weight_tying"),
        "loftq_config",
    }
)


class PeftSettings(msgspec.Struct, frozen=True):
    """What `adapter_config.json` states about the corrections."""

    r: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    lora_alpha: float
    peft_type: Literal["LORA"]
    bias: Literal["none"] = "none"
    use_rslora: bool = False
    alpha_pattern: dict[str, float] = {}
    rank_pattern: dict[str, int] = {}
    target_modules: str | list[str] | None = None
    exclude_modules: str | list[str] | None = None
    fan_in_fan_out: bool = False
    init_lora_weights: bool | Literal["gaussian", "orthogonal"] = True
    """Other ways of initialization change the base, too."""


def save_adapter(folder: Path, model: GPT, config: LoRAConfig, *, base: str) -> None:
    """Write the corrections of `model` into a sealed folder; `base` names the model that they belong to."""
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

    Raises `ModelError` when the folder is not a whole adapter or does not fit the model; the model is then unchanged.
    """
    about, tensors = _read(folder)
    changes: list[tuple[Tensor, Tensor, Tensor, float]] = []
    for number, block in enumerate(model.blocks):
        for owner, layer in places(block):
            rows = rows_of_parts(model.config, layer)
            weight_NC = getattr(owner, layer).weight
            for module, parts in _by_module(model.config, number, list(rows)):
                pair = [_taken(tensors, f"{module}.lora_{half}.weight") for half in "AB"]
                if pair == [None, None]:
                    continue
                into_NC = weight_NC if len(parts) == len(rows) else weight_NC[rows[parts[0]]]  # a view
                a_RC, b_NR = _fitting(folder, module, pair, tuple(into_NC.shape))
                _refuse_other_rank(folder, about, module, len(a_RC))
                scale = _scale(about, module, len(a_RC))
                if not (into_NC + _change(into_NC, a_RC, b_NR, scale)).isfinite().all():
                    raise _uncountable(folder, module)
                changes.append((into_NC, a_RC, b_NR, scale))
    if tensors:
        raise _misfit(folder, next(iter(tensors)))
    if not changes:
        raise ModelError(
            f"The adapter {folder} holds no correction: {WEIGHTS} is empty. Take the file of the training."
        )
    # Computed again, because keeping all of them takes as much memory as the model.
    for into_NC, a_RC, b_NR, scale in changes:
        into_NC += _change(into_NC, a_RC, b_NR, scale)
    return model


def _change(into_NC: Tensor, a_RC: Tensor, b_NR: Tensor, scale: float) -> Tensor:
    """Return what a correction adds to a matrix (N, C)."""
    change_NC = (b_NR.float() @ a_RC.float()) * scale
    return change_NC.to(device=into_NC.device, dtype=into_NC.dtype)


def _taken(tensors: dict[str, Tensor], name: str) -> Tensor | None:
    """Remove and return a tensor by its name, or by the name that also contains the adapter's name."""
    for one in (name, name.replace(".weight", ".default.weight")):
        place = place_of(one, tensors)
        if place is not None:
            return tensors.pop(place)
    return None


def _fitting(
    folder: Path, module: str, pair: list[Tensor | None], shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return A (R, C) and B (N, R). Raises `ModelError` when they are not the two halves for a matrix of that shape."""
    a_RC, b_NR = pair
    if a_RC is None or b_NR is None:
        raise ModelError(
            f"The adapter {folder} is not whole: it has only one of the two halves of {module}. Save it or "
            "fetch it again."
        )
    halves_fit = a_RC.dim() == b_NR.dim() == 2 and a_RC.shape[0] == b_NR.shape[1]
    if not halves_fit or (b_NR.shape[0], a_RC.shape[1]) != shape or not a_RC.shape[0]:
        raise _misfit(folder, module)
    for half in (a_RC, b_NR):
        if not half.is_floating_point() or not half.float().isfinite().all():
            raise _uncountable(folder, module)
    return a_RC, b_NR


def _by_module(config: ModelConfig, layer: int, parts: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the modules of a family's model that hold these parts, each with the parts in it."""
    modules: dict[str, list[str]] = {}
    for part in parts:
        modules.setdefault(lora_module(config, layer, part), []).append(part)
    yield from modules.items()


def _fused(layer: LoRALinear, parts: list[str]) -> tuple[Tensor, Tensor]:
    """Return one A (R, C) and B (N, R) over all rows of a layer that combine the corrections of these parts."""
    a_RC = torch.cat([layer.down[part] for part in parts])
    b_NR = a_RC.new_zeros(layer.base.out_features, len(a_RC))
    first = 0
    for part in parts:
        rank = len(layer.down[part])
        b_NR[layer.parts[part], first : first + rank] = layer.up[part]
        first += rank
    return a_RC, b_NR


def _read(folder: Path) -> tuple[PeftSettings, dict[str, Tensor]]:
    try:
        if (folder / CONFIG).stat().st_size > MOST_CONFIG:
            raise ValueError(f"{CONFIG} is larger than {MOST_CONFIG} bytes")
        content, tensors = files.read_json(folder / CONFIG), load_file(folder / WEIGHTS)
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise ModelError(
            files.git_lfs_pointer(folder / WEIGHTS)
            or f"{folder} is not a whole adapter: it needs {CONFIG} and {WEIGHTS} ({error})."
        ) from error
    about = stated(PeftSettings, content, origin=str(folder / CONFIG))
    special = sorted(name for name, value in content.items() if value and name not in KNOWN)
    special += [
        f"alpha_pattern for {key!r}" for key in about.alpha_pattern if not re.fullmatch(r"[\w.]+", key)
    ]
    alphas = {"lora_alpha": about.lora_alpha} | {
        f"alpha_pattern for {key!r}": alpha for key, alpha in about.alpha_pattern.items()
    }
    special += [f"{name} = {alpha}" for name, alpha in alphas.items() if not math.isfinite(alpha)]
    if special:
        raise ModelError(
            f"The adapter {folder} has {special[0]}, which cannot be added into a model's matrices here."
        )
    return about, {plain: tensors[given] for plain, given in unwrap(tensors).items()}


def _refuse_other_rank(folder: Path, about: PeftSettings, module: str, rank: int) -> None:
    """Raise `ModelError` when settings and tensors belong to different adapters: the scale would be wrong, too."""
    stated = _of_module(about.rank_pattern, module, about.r)
    if stated != rank:
        raise ModelError(
            f"The files of the adapter {folder} differ: {CONFIG} states rank {stated} for {module}, and {WEIGHTS} has "
            f"{rank}. Take both files from the same training."
        )


def _of_module(pattern: dict[str, Any], module: str, usual: Any) -> Any:
    """Return the value that a pattern of PEFT's settings has for a module, by the end of its name, else `usual`."""
    found = [value for key, value in pattern.items() if f".{module}".endswith(f".{key}")]
    return found[0] if found else usual


def _scale(about: PeftSettings, module: str, rank: int) -> float:
    alpha = _of_module(about.alpha_pattern, module, about.lora_alpha)
    return alpha / (math.sqrt(rank) if about.use_rslora else rank)


def _uncountable(folder: Path, module: str) -> ModelError:
    return ModelError(
        f"The adapter {folder} holds unusable numbers for {module}: they are not finite, too "
        "large, or whole numbers. Take another checkpoint of it."
    )


def _misfit(folder: Path, name: str) -> ModelError:
    return ModelError(
        f"The adapter {folder} does not fit this model: there is no place for {name}. Take the base model that it was "
        "trained on."
    )
