"""A model whose weights are still to come: nothing is drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT


def blank(config: ModelConfig, device: str = "meta") -> GPT:
    """Return a model whose weights have shapes but no numbers. On the CPU they are what the memory holds."""
    with torch.device(device), _WithoutDraws():
        return GPT(config)


class _WithoutDraws(TorchFunctionMode):
    """Skips the initialization of weights. On the meta device it costs seconds: torch loads its compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
