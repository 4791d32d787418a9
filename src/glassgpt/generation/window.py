"""Which tokens of a text the model sees.

A model sees at most `context_length` tokens. When a text grows longer, the oldest tokens are dropped: the window moves
so that it is half full, positions start again at 0, and the remaining tokens are computed again. This is right for
every kind of position (a learned one has no meaning past its table; a rotary one would leave the range seen in
training). The model never sees anything it was not trained on, and the cost is one reading for each half window. The
place of the window depends only on the number of tokens, so generation with and without the cache sees the same tokens
and gives the same ids. The repetition penalty, too, uses only the tokens in the window.
"""

from __future__ import annotations


def window_start(length: int, context_length: int) -> int:
    """Return the index of the oldest token the model sees when there are `length` tokens.

    0 until the context is full; then it jumps so that half a context is left, and so on.
    """
    if length <= context_length:
        return 0
    step = max(1, context_length - context_length // 2)
    jumps = -(-(length - context_length) // step)
    return jumps * step
