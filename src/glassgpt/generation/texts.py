"""A request while it is written: the ids of its text so far, and what of them is in the cache."""

from __future__ import annotations

import math

from torch import Tensor

from glassgpt.generation.requests import Draws, Request


class Text:
    """A request, the ids of its text so far, and what of it is in the cache. `bias` (V,) is added to its logits."""

    __slots__ = (
        "bias",
        "draws",
        "ends",
        "ids",
        "likeliest",
        "most",
        "need",
        "number",
        "request",
        "sampling",
        "start",
        "tells",
    )

    def __init__(self, number: int, request: Request, bias: Tensor | None, context_length: int) -> None:
        self.number, self.request = number, request
        self.ids = list(request.ids)
        self.start = 0
        """Where the window begins whose tokens are cached."""
        self.bias = bias
        self.tells = request.of_prompt
        """Whether the log-probabilities of the prompt are still to be told."""
        # What each step looks at.
        self.sampling, self.ends, self.likeliest = request.sampling, request.ends, request.likeliest
        self.most = math.inf if request.max_tokens is None else len(self.ids) + request.max_tokens
        """The length of the text at which it ends."""
        self.need = int(min(self.most, context_length))
        """The most tokens of it that will be cached at a time."""
        self.draws = Draws(request.seed, request.stream) if request.sampling.temperature > 0 else None

    @property
    def window(self) -> list[int]:
        """The ids from `start` on: what is cached, and the newest."""
        return self.ids[self.start :]
