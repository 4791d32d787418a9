"""How good a model will be: a law of two terms, fitted to runs of this project.

Bits per byte fall with the size of a model and with the text it has seen, each as a power (Hoffmann et al. 2022,
equation 2, there in nats a token):

    bits per byte = E + A N^-ALPHA + B D^-BETA

N counts the weights of the blocks, D the bytes of text that were seen. E, what is left when both are endless,
belongs to the text and is the same for all models, so a choice between models needs the other two terms alone.
Seeing a text again helps less each time: R repetitions are worth R* (1 - exp(-R / R*)) fresh ones (Muennighoff
et al. 2023, equation 5, R* = 15.4).

The numbers come from the five runs under "Size against text" in docs/experiments.md, ALPHA and BETA being near
those of the paper. They lie between 0.4 and 3 million block weights and 0.4 and 1.6 MB of text; beyond, they are
extrapolated.
"""

from __future__ import annotations

import math

A, ALPHA = 16.0, 0.42
B, BETA = 41.0, 0.32
REPETITIONS = 15.4


def fresh_bytes(seen: float, unique: float) -> float:
    """Return how many bytes of fresh text would teach as much as `seen` bytes of only `unique` different ones."""
    if seen <= unique:
        return seen
    repetitions = seen / unique - 1
    return unique * (1 + REPETITIONS * (1 - math.exp(-repetitions / REPETITIONS)))


def excess_bits(block_weights: int, seen_bytes: float, unique_bytes: float) -> float:
    """Return the bits per byte that a model is expected to be above the best possible one."""
    return A * block_weights**-ALPHA + B * fresh_bytes(seen_bytes, unique_bytes) ** -BETA
