"""The parts of a block that look at one token at a time: norms and MLPs.

Tensors are named by their shape: B batch, T tokens, C = n_embd, F = width of the MLP; `...` any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt.model.config import ModelConfig, require_known


class RMSNorm(nn.Module):
    """Scale each vector to a root mean square of 1, then by a learned weight (Zhang and Sennrich, 2019).

        y = x / sqrt(mean(x²) + epsilon) * weight

    LayerNorm without the centring and the bias: cheaper, and as good in practice.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)

    def extra_repr(self) -> str:
        """Name the width and epsilon when the module is printed."""
        return f"{self.weight.numel()}, epsilon={self.epsilon}"


def make_norm(config: ModelConfig) -> nn.Module:
    """Return the norm that the config names, over the residual stream."""
    require_known(config, "make_norm in model/layers.py", norm=("layernorm", "rmsnorm"))
    if config.norm == "rmsnorm":
        return RMSNorm(config.n_embd, config.norm_epsilon)
    return nn.LayerNorm(config.n_embd, eps=config.norm_epsilon, bias=config.norm_bias)


def relu_squared(x: Tensor) -> Tensor:
    """Return max(x, 0)², found by search over activations (So et al., 2021, "Primer")."""
    return F.relu(x).square()


ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu2": relu_squared,
}


class MLP(nn.Module):
    """Widen each token's vector, bend it, and bring it back: down(activation(up(x)))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.n_embd, config.mlp_width, bias=config.mlp_bias)
        self.down = nn.Linear(config.mlp_width, config.n_embd, bias=config.mlp_bias)
        self.activation = ACTIVATION[config.activation]

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        hidden_BTF = self.activation(self.up(x_BTC))
        return self.down(hidden_BTF)


class GatedMLP(nn.Module):
    """SwiGLU: one matrix proposes, another gates it (Shazeer, 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.n_embd, config.mlp_width, bias=config.mlp_bias)
        self.up = nn.Linear(config.n_embd, config.mlp_width, bias=config.mlp_bias)
        self.down = nn.Linear(config.mlp_width, config.n_embd, bias=config.mlp_bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        hidden_BTF = F.silu(self.gate(x_BTC)) * self.up(x_BTC)
        return self.down(hidden_BTF)


def make_mlp(config: ModelConfig) -> nn.Module:
    """Return the MLP that the config names."""
    require_known(config, "make_mlp in model/layers.py", activation=(*ACTIVATION, "swiglu"))
    return GatedMLP(config) if config.activation == "swiglu" else MLP(config)
