"""What a recording of a model takes for granted, and a look, cheap enough for every token, at whether it still holds.

A recorded step replays what the modules computed when it was made. It runs no hooks, and knows of no module,
weight or form of attention that was put in another's place since. So whoever replays asks first: is anybody watching
(`is_watched`)? Is every part still the one there was (`is_same`)? Weights that change in place are shared and need no
question.
"""

from __future__ import annotations

import operator
from itertools import chain
from typing import Any

from torch import nn
from torch.nn.modules import module as hooks_of_all

from glassgpt.model.attention import Attention
from glassgpt.model.gpt import GPT

_HOOKS_OF_ALL = (
    hooks_of_all._global_forward_hooks,
    hooks_of_all._global_forward_pre_hooks,
)


class Outline:
    """The parts of a model as they are now: modules, parameters, buffers, and where hooks on them would be."""

    def __init__(self, model: GPT) -> None:
        modules = list(model.modules())
        # Each of these dictionaries is one for as long as its module lives, so that a look needs no search.
        self._hooks: list[Any] = [
            *_HOOKS_OF_ALL,
            *(hooks for module in modules for hooks in (module._forward_hooks, module._forward_pre_hooks)),
        ]
        self._places = [place for module in modules for place in _places(module)]
        self._attentions = [module for module in modules if isinstance(module, Attention)]
        self._parts = self._look()

    def is_watched(self) -> bool:
        """Say whether a hook waits for a forward pass, on one of the modules or on all that there are."""
        return any(self._hooks)

    def is_same(self) -> bool:
        """Say whether every module, parameter, buffer and form of attention is still the one that it was."""
        parts = self._look()
        return len(parts) == len(self._parts) and all(map(operator.is_, parts, self._parts))

    def _look(self) -> list[Any]:
        parts = list(chain.from_iterable(map(dict.values, self._places)))
        parts.extend(attention.form for attention in self._attentions)
        return parts


def _places(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """Return where a module keeps its parts, those left out that are empty and stay so."""
    return tuple(place for place in (module._modules, module._parameters, module._buffers) if place)
