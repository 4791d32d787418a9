"""How good a model will be: a law of two terms, fitted to runs of this project.

Bits per byte fall as a power of the model's size and of the amount of text it was trained on (Hoffmann et al. 2022,
equation 2, there in nats a token):

    bits per byte = E + A N^-ALPHA + B D^-BETA

N counts the weights of the blocks, D the bytes of training text. E is what remains when both are infinite. It depends
on the text and is the same for all models, so a choice between models needs only the other two terms. Repeating a
text helps less each time: R repetitions are worth R* (1 - exp(-R / R*)) fresh ones (Muennighoff et al. 2023, equation
5, R* = 15.4).

The numbers come from the five runs under "Size against text" in docs/experiments.md; ALPHA and BETA are near those of
the paper. The runs cover 0.4 to 3 million block weights and 0.4 to 1.6 MB of text. Outside that range the law is
extrapolated.
"""

from __future__ import annotations

import math

A, ALPHA = 16.0, 0.42
B, BETA = 41.0, 0.32
REPETITIONS = 15.4


def fresh_bytes(seen: float, unique: float) -> float:
    """Return how many bytes of fresh text teach as much as `seen` bytes with only `unique` different ones."""
    if seen <= unique:
        return seen
    repetitions = seen / unique - 1
    return unique * (1 + REPETITIONS * (1 - math.exp(-repetitions / REPETITIONS)))


def excess_bits(block_weights: int, seen_bytes: float, unique_bytes: float) -> float:
    """Return a model's expected bits per byte above the best possible model."""
    return A * block_weights**-ALPHA + B * fresh_bytes(seen_bytes, unique_bytes) ** -BETA
