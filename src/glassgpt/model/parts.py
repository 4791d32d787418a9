"""The activations and norms a model may have: what each computes, costs, and is called elsewhere.

One entry is all that an activation or a norm needs. Shapes, parameters and memory follow from it, and so does what each
export makes of it: a family that has no name for it refuses it by name. `glassgpt.activations` and `glassgpt.norms` are
the entry points of parts from elsewhere (see `docs/extending.md`). Nothing here imports torch: functions are named by
their place, and looked up when a model is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from glassgpt.registry import Registry, imported


@dataclass(frozen=True, slots=True)
class Activation:
    """The nonlinear function of the MLP: `down(f(up(x)))`, or gated `down(f(gate(x)) * up(x))`."""

    function: str | Callable[[Any], Any]
    """Maps a tensor to one of the same shape; a function, or `module:name` of one."""
    kept: int = 2
    """Tensors of the MLP's width that are kept for the gradient, an estimate."""
    at_once: int = 3
    """Tensors of the MLP's width that are held at once where nothing is kept."""
    gated: bool = False
    """Whether a third matrix, `gate`, is what it is applied to."""
    gpt2: str | None = None
    """Its name in the config.json of GPT-2. None: GPT-2 cannot have it."""
    llama: str | None = None
    """Its name in the config.json of Llama and its kin. None: they cannot have it."""
    llama_cpp: bool = False
    """Whether llama.cpp computes it in the families above."""

    @property
    def apply(self) -> Callable[[Any], Any]:
        """The function itself."""
        return imported(self.function) if isinstance(self.function, str) else self.function


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm over the residual stream, with a weight (C,) and perhaps a bias (C,)."""

    build: str | Callable[..., Any]
    """Called with (width, epsilon, bias), it returns a module; a function, or `module:name` of one."""
    has_bias: bool = False
    """Whether it can have a bias."""
    kept: int = 0
    """Further tensors of the stream's width that are kept for the gradient, beside its input and its output."""
    families: tuple[str, ...] = ()
    """Of gpt2 and llama, those that have this norm."""

    @property
    def make(self) -> Callable[..., Any]:
        """What builds the module."""
        return imported(self.build) if isinstance(self.build, str) else self.build


ACTIVATIONS = Registry(
    "activations",
    Activation,
    {
        "relu": Activation("torch.nn.functional:relu", kept=1, at_once=2, gpt2="relu"),
        "gelu": Activation("torch.nn.functional:gelu", at_once=2, gpt2="gelu", llama_cpp=True),
        "gelu_tanh": Activation(
            "glassgpt.model.layers:gelu_tanh", at_once=2, gpt2="gelu_new", llama_cpp=True
        ),
        "relu2": Activation("glassgpt.model.layers:relu_squared"),
        "swiglu": Activation("torch.nn.functional:silu", kept=4, gated=True, llama="silu", llama_cpp=True),
    },
)
NORMS = Registry(
    "norms",
    Norm,
    {
        "layernorm": Norm("glassgpt.model.layers:layer_norm", has_bias=True, families=("gpt2",)),
        # Kept: the scaled vector, before its weight.
        "rmsnorm": Norm("glassgpt.model.layers:rms_norm", kept=1, families=("llama",)),
    },
)
