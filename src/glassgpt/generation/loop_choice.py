"""The next token of each row in plain loops: what `sampling.distribution` and `sampling.draw` compute, without tensors.

    logits + bias -> repetition penalty -> temperature -> top-k -> top-p -> min-p -> draw

Every row has its own settings and its own random number, and its id depends on nothing else. Nothing is sorted. The
edge of top-k is a number x such that k logits are at least x, and the edge of top-p one such that the tokens above it
have the probability p together. Both are found by bisection: count what is above the middle, and take one half. A loop
over the whole vocabulary takes about a microsecond for 16,000 numbers, and 32 halves reach any float32.

The ids are those of torch, except where rounding decides: where the random number, or the probability at the edge of
top-p or min-p, is within about one part in a million of a border between two tokens.

Legend: B rows, V vocabulary, N blocks of the vocabulary, K tokens that are still candidates.
"""

from __future__ import annotations

# pyright: reportCallIssue=false, reportPrivateImportUsage=false
# It does not know how numba passes arguments to what is compiled.
import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from glassgpt.generation.loops import exp, vector
from glassgpt.generation.machine_words import bits_as_float, float_as_bits, matrix
from glassgpt.generation.sampling import MOST, TINY, SamplingConfig, usable_penalty

compiled = njit(
    # As in `loops`, except that a division stays one: two logits that are equal after it are equal in torch, too.
    fastmath={"reassoc", "contract", "nsz"},
    error_model="numpy",
    boundscheck=False,
    nogil=True,
    cache=True,
)
f32, i32 = np.float32, np.int32

# What a row of `settings` says at which place. `BIAS` and `SEEN` are addresses, 0 where there is nothing.
TEMPERATURE, TOP_K, TOP_P, MIN_P, PENALTY = range(5)
BIAS, SEEN, SEEN_COUNT = range(3)
BLOCK = 64
"""Tokens whose largest logit, or sum of probabilities, is noted, so that most of them are never looked at again."""
BROKEN = -1
"""The id of a row whose logits are not numbers, or that has no token left."""
SMALLEST = f32(-87.0)
"""`exp` of less is 0 here: it is less than what rounding of the largest probability hides."""


@compiled
def rank(x):
    """Return an int32 that is in the same order as float32 numbers are."""
    bits = float_as_bits(x)
    return bits ^ ((bits >> i32(31)) & i32(0x7FFFFFFF))


@compiled
def number_of(rank):
    """Return the float32 number that has a rank."""
    bits = i32(rank)
    return bits_as_float(bits ^ ((bits >> i32(31)) & i32(0x7FFFFFFF)))


@compiled
def block_of(x, block):
    """Return the numbers of a block."""
    return x[block * BLOCK : (block + 1) * BLOCK]


@compiled
def extremes(x):
    """Return the ranks of the smallest and the largest number. NaN is beyond the infinite on one of both sides."""
    lowest, highest = rank(f32(np.inf)), rank(f32(-np.inf))
    for i in range(len(x)):
        lowest, highest = min(lowest, rank(x[i])), max(highest, rank(x[i]))
    return lowest, highest


@compiled
def sum_from(edge, x):
    """Return the sum of the numbers that are at least `edge`, float64."""
    sum = 0.0
    for i in range(len(x)):
        sum += x[i] if x[i] >= edge else f32(0.0)
    return sum


@compiled
def count_from(edge, x):
    """Return how many numbers are at least `edge`, float32 (exact up to 16 million)."""
    count = f32(0.0)
    for i in range(len(x)):
        count += f32(1.0) if x[i] >= edge else f32(0.0)
    return count


@compiled
def largest_of_blocks(logits_V, largest_N):
    """Write the largest logit of each block; return the largest of all, NaN where one is NaN or no token is left."""
    lowest, highest = rank(f32(np.inf)), rank(f32(-np.inf))
    for block in range(len(largest_N)):
        low, high = extremes(block_of(logits_V, block))
        largest_N[block] = number_of(high)
        lowest, highest = min(lowest, low), max(highest, high)
    fine = lowest >= rank(f32(-np.inf)) and rank(f32(-np.inf)) < highest < rank(f32(np.inf))
    return number_of(highest) if fine else f32(np.nan)


@compiled
def first_of(largest, logits_V, largest_N):
    """Return the first id whose logit is the largest."""
    block = 0
    while largest_N[block] != largest:
        block += 1
    v = block * BLOCK
    while logits_V[v] != largest:
        v += 1
    return v


@compiled
def kth_largest(x_K, k, low, high):
    """Return the k-th largest of x, which is from `low` to `high`."""
    below, above = np.int64(rank(low)), np.int64(rank(high)) + 1
    while above - below > 1:
        middle = (below + above) >> 1
        if count_from(number_of(middle), x_K) >= k:
            below = middle
        else:
            above = middle
    return number_of(below)


@compiled
def edge_of_top_k(k, largest, logits_V, largest_N, room_V):
    """Return the k-th largest logit."""
    low = f32(-np.inf)
    if k <= len(largest_N):  # k blocks have a logit that is at least this
        low = kth_largest(largest_N, k, low, largest)
    count = 0
    for block in range(len(largest_N)):
        if largest_N[block] >= low:
            for logit in block_of(logits_V, block):
                room_V[count] = logit
                count += 1
    return kth_largest(room_V[:count], k, low, largest)


@compiled
def weigh(largest, temperature, logits_V, weights_V):
    """Write e^((logit - largest) / temperature) of every token."""
    for v in range(len(logits_V)):
        x = (logits_V[v] - largest) / temperature
        weights_V[v] = exp(x) if x > SMALLEST else f32(0.0)


@compiled
def weigh_top_k(k, largest, temperature, logits_V, largest_N, weights_V, ids_V, room_V):
    """Write the same and the id of each token of the top k and those that equal the last of them; return how many."""
    edge = (edge_of_top_k(k, largest, logits_V, largest_N, room_V) - largest) / temperature
    count = 0
    for block in range(len(largest_N)):
        if (largest_N[block] - largest) / temperature >= edge:
            for v in range(block * BLOCK, min((block + 1) * BLOCK, len(logits_V))):
                x = (logits_V[v] - largest) / temperature
                if x >= edge:
                    weights_V[count] = exp(x) if x > SMALLEST else f32(0.0)
                    ids_V[count] = v
                    count += 1
    return count


@compiled
def keep_top_p(p, weights_K, room_K):
    """Make the weight of all but the fewest likeliest tokens that reach a probability of p together 0."""
    total = sum_from(f32(0.0), weights_K)
    # Those that weigh less than this have a probability below 1 - p, even all of them together.
    low = max(f32((1.0 - p) * total / len(weights_K) * 0.999), f32(TINY))
    count = 0
    for block in range((len(weights_K) + BLOCK - 1) // BLOCK):
        if count_from(low, block_of(weights_K, block)) > 0:
            for weight in block_of(weights_K, block):
                if weight >= low:
                    room_K[count] = weight
                    count += 1
    heavy_K, target = room_K[:count], p * total
    below, above = np.int64(rank(low)), np.int64(rank(f32(1.0))) + 1
    while above - below > 1:
        middle = (below + above) >> 1
        if sum_from(number_of(middle), heavy_K) >= target:
            below = middle
        else:
            above = middle
    edge, next = number_of(below), number_of(below + 1)
    for i in range(len(weights_K)):
        weights_K[i] = weights_K[i] if weights_K[i] >= edge else f32(0.0)
    # Of tokens that are equally likely the first ones are kept, as many as it takes.
    equal = count_from(edge, heavy_K) - count_from(next, heavy_K)
    wanted = math.ceil((target - sum_from(next, heavy_K)) / edge)
    i = len(weights_K)
    while equal > wanted:
        i -= 1
        if weights_K[i] == edge:
            weights_K[i] = f32(0.0)
            equal -= 1


@compiled
def draw(uniform, weights_K, sums_N):
    """Return the index at which the running sum of weights first passes `uniform` times their sum."""
    blocks, total = (len(weights_K) + BLOCK - 1) // BLOCK, 0.0
    for block in range(blocks):
        sums_N[block] = sum_from(f32(0.0), block_of(weights_K, block))
        total += sums_N[block]
    target, upto, block = uniform * total, 0.0, 0
    while block + 1 < blocks and upto + sums_N[block] <= target:
        upto += sums_N[block]
        block += 1
    last = 0  # taken where the sum of the block was rounded up
    for i in range(block * BLOCK, min((block + 1) * BLOCK, len(weights_K))):
        upto += weights_K[i]
        if weights_K[i] > 0:
            last = i
            if upto > target:
                break
    return last


@compiled
def change(bias, seen, penalty, logits_V, changed_V):
    """Write the logits with a bias (V,), and with the repetition penalty for the ids in `seen`."""
    for v in range(len(logits_V)):
        changed_V[v] = logits_V[v]
    if bias != 0:
        bias_V = vector(bias, len(logits_V))
        for v in range(len(logits_V)):
            changed_V[v] += bias_V[v]
    for i in range(len(seen)):
        x = logits_V[seen[i]] + (vector(bias, len(logits_V))[seen[i]] if bias != 0 else f32(0.0))
        if abs(x) <= MOST:  # -inf excludes a token, and what is broken stays so
            y = x / penalty if x > 0 else x * penalty
            changed_V[seen[i]] = max(min(y, MOST), -MOST)  # the same again if an id is there twice


@compiled
def choose(logits_BV, settings_BS, addresses_BA, uniforms_B, room_4V, ids_V, sums_N, ids_B):
    """Write the id that each row chooses, `BROKEN` where its logits are not finite numbers (-inf excludes a token).

    `logits_BV` is float32 and stays as it is. `settings_BS` (B, 5), float64, are the temperature (0 takes the first of
    the likeliest), top-k (0: all), top-p (1: all), min-p (0: all) and repetition penalty (1: none) of each row.
    `addresses_BA` (B, 3), int64, are the address of a float32 bias (V,), that of the int64 ids which the penalty is
    for, and their number, or zeros. `uniforms_B` are numbers from [0, 1), float64. Room to work in: `room_4V` (4, V),
    float32, `ids_V`, int64, and `sums_N` (V / BLOCK, rounded up), float64. `ids_B` is int64.
    """
    size = logits_BV.shape[1]
    largest_N = room_4V[3, : (size + BLOCK - 1) // BLOCK]
    for b in range(len(logits_BV)):
        s, logits_V, count, is_all = settings_BS[b], logits_BV[b], size, True
        if addresses_BA[b, BIAS] != 0 or addresses_BA[b, SEEN] != 0:
            seen = matrix(addresses_BA[b, SEEN], 1, addresses_BA[b, SEEN_COUNT], np.int64)[0]
            change(addresses_BA[b, BIAS], seen, f32(s[PENALTY]), logits_V, room_4V[0])
            logits_V = room_4V[0]
        largest = largest_of_blocks(logits_V, largest_N)
        if math.isnan(largest):
            ids_B[b] = BROKEN
            continue
        if s[TEMPERATURE] == 0:
            ids_B[b] = first_of(largest, logits_V, largest_N)
            continue
        temperature, weights_K = f32(max(s[TEMPERATURE], TINY)), room_4V[1]
        if 0 < s[TOP_K] < size:
            is_all, k = False, f32(s[TOP_K])
            count = weigh_top_k(k, largest, temperature, logits_V, largest_N, weights_K, ids_V, room_4V[2])
        else:
            weigh(largest, temperature, logits_V, weights_K)
        weights_K = weights_K[:count]
        if s[TOP_P] < 1:
            keep_top_p(s[TOP_P], weights_K, room_4V[2])
        if s[MIN_P] > 0:
            for i in range(count):
                weights_K[i] = weights_K[i] if weights_K[i] >= f32(s[MIN_P]) else f32(0.0)
        chosen = draw(uniforms_B[b], weights_K, sums_N)
        ids_B[b] = chosen if is_all else ids_V[chosen]


class LoopChooser:
    """Chooses ids for up to `rows` rows of logits over a vocabulary; it keeps the room that the loops work in."""

    def __init__(self, rows: int, vocab_size: int) -> None:
        self.rows = rows
        self._settings_BS = np.zeros((rows, 5))
        self._addresses_BA = np.zeros((rows, 3), np.int64)
        self._held: Sequence[object] = ()  # what the addresses point to
        self._uniforms_B, self._ids_B = np.zeros(rows), np.zeros(rows, np.int64)
        self._room_4V, self._ids_V = np.empty((4, vocab_size), np.float32), np.empty(vocab_size, np.int64)
        self._sums_N = np.empty((vocab_size + BLOCK - 1) // BLOCK)

    def set(self, configs: Sequence[SamplingConfig], biases: Sequence[np.ndarray | None] = ()) -> None:
        """Say how each of the first rows chooses, from now on.

        `biases` (V,), float32, are added to the logits; -inf excludes a token.
        """
        self._settings_BS[: len(configs)] = [
            (c.temperature, c.top_k, c.top_p, c.min_p, usable_penalty(c.repetition_penalty)) for c in configs
        ]
        self._addresses_BA[:] = 0
        self._held = biases
        for row, bias_V in enumerate(biases):
            if bias_V is not None:
                assert (bias_V.dtype, bias_V.shape) == (np.float32, self._ids_V.shape)
                self._addresses_BA[row, BIAS] = _address(bias_V)

    def next_ids(
        self,
        logits_BV: np.ndarray,
        uniforms: Sequence[float],
        seen: Sequence[np.ndarray | None] = (),
    ) -> list[int]:
        """Return an id for each row of float32 logits, `BROKEN` for a row whose logits are not finite.

        The logits stay as they are. `uniforms` are numbers from [0, 1), one for a row; `seen`, int64, are the ids that
        the repetition penalty of a row is for.
        """
        count = len(logits_BV)
        self._uniforms_B[:count] = uniforms
        for row, ids in enumerate(seen):
            if ids is not None and len(ids):
                assert ids.dtype == np.int64
                self._addresses_BA[row, SEEN], self._addresses_BA[row, SEEN_COUNT] = _address(ids), len(ids)
        ids_B = self._ids_B[:count]
        choose(
            logits_BV,
            self._settings_BS,
            self._addresses_BA,
            self._uniforms_B,
            self._room_4V,
            self._ids_V,
            self._sums_N,
            ids_B,
        )
        return ids_B.tolist()


def _address(numbers: np.ndarray) -> int:
    assert numbers.flags.c_contiguous
    return numbers.ctypes.data
