"""The parts of a block that process one token at a time: norms and MLPs.

Tensors are named by their shape: B batch, T tokens, C = n_embd, F = width of the MLP; `...` any axes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassgpt.model.config import ModelConfig
from glassgpt.model.parts import ACTIVATIONS, NORMS


class RMSNorm(nn.Module):
    """Scale each vector to a root mean square of 1, then multiply by a learned weight (Zhang and Sennrich, 2019).

        y = x / sqrt(mean(x²) + epsilon) * weight

    LayerNorm without centring and bias: cheaper, and as good in practice.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)

    def extra_repr(self) -> str:
        """Return the width and epsilon for printing the module."""
        return f"{self.weight.numel()}, epsilon={self.epsilon}"


def rms_norm(width: int, epsilon: float, bias: bool) -> nn.Module:
    """Return an `RMSNorm`, which has no bias."""
    assert not bias
    return RMSNorm(width, epsilon)


def layer_norm(width: int, epsilon: float, bias: bool) -> nn.Module:
    """Return torch's LayerNorm (Ba et al., 2016)."""
    return nn.LayerNorm(width, eps=epsilon, bias=bias)


def make_norm(config: ModelConfig) -> nn.Module:
    """Return the norm that the config names, for the residual stream."""
    return NORMS[config.norm].make(config.n_embd, config.norm_epsilon, config.norm_bias)


def relu_squared(x: Tensor) -> Tensor:
    """Return max(x, 0)², found by a search over architectures (So et al., 2021, "Primer")."""
    return F.relu(x).square()


def gelu_tanh(x: Tensor) -> Tensor:
    """Return GPT-2's approximation of GELU (Hendrycks and Gimpel, 2016, section 2)."""
    return F.gelu(x, approximate="tanh")


class MLP(nn.Module):
    """Widen each token's vector, apply the activation, and project back: down(activation(up(x)))."""

    def __init__(
        self, width: int, hidden: int, activation: Callable[[Tensor], Tensor], *, bias: bool = False
    ) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.activation = activation

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        hidden_BTF = self.activation(self.up(x_BTC))
        return self.down(hidden_BTF)


class GatedMLP(nn.Module):
    """Multiply two projections, one as a gate: down(activation(gate(x)) * up(x)). With SiLU: SwiGLU (Shazeer, 2020)."""

    def __init__(
        self, width: int, hidden: int, activation: Callable[[Tensor], Tensor] = F.silu, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)
        self.activation = activation

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        hidden_BTF = self.activation(self.gate(x_BTC)) * self.up(x_BTC)
        return self.down(hidden_BTF)


def make_mlp(config: ModelConfig) -> nn.Module:
    """Return the MLP that the config names."""
    activation = ACTIVATIONS[config.activation]
    kind = GatedMLP if activation.gated else MLP
    return kind(config.n_embd, config.mlp_width, activation.apply, bias=config.mlp_bias)
