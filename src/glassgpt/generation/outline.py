"""What compiled loops assume of a model, and a check, cheap enough for every token, that it still holds.

The loops compute what the modules of a model were when they were looked at. They run no hooks, and they do not notice
when a module, a weight or a form of attention is replaced. So the caller checks two things before each step: does any
hook wait (`is_watched`), and is every part still the same (`is_same`)? Weights that change in place are shared and need
no check.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all

from glassgpt.model.attention import Attention
from glassgpt.model.gpt import GPT

_HOOKS_OF_ALL = (
    hooks_of_all._global_forward_hooks,
    hooks_of_all._global_forward_pre_hooks,
)


_FORM_OF = operator.attrgetter("form")
END = object()
"""After the last part, so that a part more or less is noticed."""


class Outline:
    """The parts of a model as they are now: modules, parameters, buffers, and the places of their hooks."""

    def __init__(self, model: GPT) -> None:
        modules = list(model.modules())
        # A module keeps each of these dictionaries for life, so a check needs no search.
        self._hooks: list[Any] = [
            *_HOOKS_OF_ALL,
            *(hooks for module in modules for hooks in (module._forward_hooks, module._forward_pre_hooks)),
        ]
        self._places = [place for module in modules for place in _places(module)]
        self._attentions = [module for module in modules if isinstance(module, Attention)]
        self._weights = list(model.parameters())
        self._parts, self._addresses = list(self._look()), self._look_for_addresses()

    def is_watched(self) -> bool:
        """Return whether a hook waits for a forward pass, on one of the modules or globally."""
        return any(self._hooks)

    def is_same(self) -> bool:
        """Return whether all modules, parameters, buffers and forms of attention are the same objects, in place."""
        return (
            all(map(operator.is_, self._look(), self._parts))
            and self._look_for_addresses() == self._addresses  # `weight.data = other` moves a parameter
        )

    def _look_for_addresses(self) -> list[int]:
        return list(map(Tensor.data_ptr, self._weights))

    def _look(self) -> Iterator[Any]:
        parts = chain.from_iterable(map(dict.values, self._places))
        return chain(parts, map(_FORM_OF, self._attentions), (END,))


def _places(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """Return the dictionaries of a module's parts, without those that are empty and stay so."""
    return tuple(place for place in (module._modules, module._parameters, module._buffers) if place)
