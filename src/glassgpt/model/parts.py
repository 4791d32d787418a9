"""The activations and norms a model may have: what each computes, what it costs, and its name in other formats.

An activation or a norm needs only one entry here. Shapes, parameters, memory and exports follow from it; a family that
has no name for a part refuses it with an error that names the part. `glassgpt.activations` and `glassgpt.norms` are the
entry points for parts from other packages (see `docs/extending.md`). Nothing here imports torch: functions are given as
`module:name` and looked up when a model is built.
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
    """Maps a tensor to one of the same shape; a function, or its `module:name`."""
    kept: int = 2
    """Estimated number of tensors of the MLP's width that are kept for the gradient."""
    at_once: int = 3
    """Number of tensors of the MLP's width that are in memory at once when nothing is kept for the gradient."""
    gated: bool = False
    """Whether it is applied to the output of a third matrix, `gate`."""
    gpt2: str | None = None
    """Its name in the config.json of GPT-2. None: GPT-2 does not support it."""
    llama: str | None = None
    """Its name in the config.json of Llama and related families. None: they do not support it."""
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
    """Called with (width, epsilon, bias), returns a module; a function, or its `module:name`."""
    has_bias: bool = False
    """Whether it can have a bias."""
    kept: int = 0
    """Number of tensors of the stream's width kept for the gradient, besides its input and output."""
    families: tuple[str, ...] = ()
    """Which of gpt2 and llama have this norm."""

    @property
    def make(self) -> Callable[..., Any]:
        """The function that builds the module."""
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
        # Kept: the scaled vector before the weight is applied.
        "rmsnorm": Norm("glassgpt.model.layers:rms_norm", kept=1, families=("llama",)),
    },
)
