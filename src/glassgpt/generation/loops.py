"""One step of a GPT in plain loops: what the model computes for one more token, from the id to the logits.

    embedding -> n_layer x [ norm, queries/keys/values, attention over the cache, add | norm, MLP, add ] -> norm -> head

It is the same computation as `model.gpt`, without tensors. Read it like a small C program: `step` at the end is the
whole model, and what it calls stands above it. numba compiles it for the CPU that it runs on, so nothing is left of a
step but its arithmetic. `loop_engine` lays out the arrays that are passed here.

All numbers are float32. Matrices may be stored in 8 or 16 bits, and keys and values in float16; they become float32 on
the way. The rows of a step are the tokens that are computed together, and each weight is read once for all of them.
Rows are arranged in tiles. With a few rows, each is a tile. With many, a tile has `WIDE` rows: it stores the first
number of every row, then the second number of every row, and so on, so that one instruction computes the same for many
rows. Places that no text fills are computed as well. Several threads may run `step` at the same time on the same
arrays, each as its own `part` of `parts`: they share the outputs of each product, and wait at a gate before those are
used.

Legend: B rows, R rows of the cache, T tiles, W rows of a tile, C = n_embd, H query heads, K key/value heads, D head
width, E = D / 2 pairs, F MLP width, V vocabulary, S tokens in the cache, G groups of WIDE tokens there, L layers,
M inputs and N outputs of a product.
"""

from __future__ import annotations

# pyright: reportCallIssue=false, reportPrivateImportUsage=false
# It does not know how numba passes arguments to what is compiled.
import math
from typing import Any

import numpy as np
from numba import njit

from glassgpt.generation.machine_words import (
    LANES,
    address_in,
    arrive,
    ask_for,
    beside,
    bits_as_float,
    lanes_at,
    let_others_run,
    matrix,
    narrowed,
    put_lanes,
    put_word,
    replace_word,
    spread,
    square_roots,
    stay_apart,
    vector,
    widened,
    word_at,
)

compiled = njit(
    # Sums may be taken in any order, and a product and a sum may become one instruction. Only then do loops use the
    # whole width of the registers. Infinity and NaN stay what they are.
    fastmath={"reassoc", "contract", "nsz", "arcp"},
    error_model="numpy",
    boundscheck=False,
    nogil=True,
    cache=True,
    _nrt=False,
)
f32, i32 = np.float32, np.int32

# What `shape` says at which place: sizes, and which parts the model has.
(LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY, NORM, ACTIVATION, WINDOW, STRIDE, ROTARY, STORED) = range(11)
SHAPE_SIZE = 11
LAYERNORM, RMSNORM = range(2)
RELU, GELU, GELU_TANH, RELU2, SWIGLU = range(5)
FLOAT32, BFLOAT16, INT8 = range(3)
# What `numbers` says.
EPSILON, EMBEDDING_SCALE = range(2)
# Addresses of a layer's weights in a row of `weights`; 0 for those that the model does not have.
(ATTENTION_NORM, ATTENTION_NORM_BIAS, MLP_NORM, MLP_NORM_BIAS, QUERY_NORM, KEY_NORM) = range(6)
# A linear layer has three: its matrix, and at the next two places its bias and the scale of each output. These are
# numbers of numpy: numba would compile a function again for each Python number that it is called with.
numbered: Any = np.arange
QKV, OUTPUT, GATE, UP, DOWN = numbered(6, 21, 3)
BIAS, SCALE = 1, 2
# The same in its last row, for what belongs to no layer.
EMBEDDING, POSITIONS, FINAL_NORM, FINAL_NORM_BIAS, HEAD = numbered(5)
ADDRESSES = 21

WIDE = 2 * LANES
"""Rows of a wide tile, and tokens of a group of keys."""
SIX = 6
"""Outputs of a wide tile that are computed at once: twelve sums fit into the registers, beside what is multiplied."""
PAIRS = 4
"""Pairs of outputs that are computed for all rows before the next ones."""
SPINS = 2000
"""How often a thread looks whether the others have arrived before it lets another program run on its core."""

PATIENCE = 2000
"""How often a helper then looks for the next step, and lets others run, before it sleeps: for about a millisecond."""
# What a note says, by which a helper and the thread that calls it find each other.
ASLEEP, READY, CALLED, DISMISSED = range(4)


@compiled
def exp(x):
    """Return e^x within 1e-7 of it: 2^k times a polynomial of the rest (Moshier 1992, Cephes, `expf`)."""
    x = f32(88.0) if x > f32(88.0) else x
    x = f32(-87.0) if x < f32(-87.0) else x
    k = i32(x * f32(1.44269504088896341) + f32(128.5)) - i32(128)  # rounded: what is cut is positive
    r = x - f32(k) * f32(0.693359375) + f32(k) * f32(2.12194440e-4)
    p = f32(1.9875691500e-4) * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * r * r + r + f32(1.0)
    return p * bits_as_float(i32(k + i32(127)) << i32(23))


@compiled
def erf(x):
    """Return the error function within 1.2e-7 of it (Press et al. 1992, Numerical Recipes, section 6.2, `erfcc`)."""
    z = abs(x)
    t = f32(1.0) / (f32(1.0) + f32(0.5) * z)
    p = f32(0.17087277) * t + f32(-0.82215223)
    p = p * t + f32(1.48851587)
    p = p * t + f32(-1.13520398)
    p = p * t + f32(0.27886807)
    p = p * t + f32(-0.18628806)
    p = p * t + f32(0.09678418)
    p = p * t + f32(0.37409196)
    p = p * t + f32(1.00002368)
    p = p * t + f32(-1.26551223)
    tail = t * exp(p - z * z)
    return f32(1.0) - tail if x >= f32(0.0) else tail - f32(1.0)


@compiled
def activate(kind, x):
    """Apply the MLP's activation to each number of x, (N,), in place."""
    stay_apart()
    if kind == RELU:
        for n in range(len(x)):
            x[n] = max(x[n], f32(0.0))
    elif kind == RELU2:
        for n in range(len(x)):
            x[n] = max(x[n], f32(0.0)) ** 2
    elif kind == GELU:
        for n in range(len(x)):
            x[n] = f32(0.5) * x[n] * (f32(1.0) + erf(x[n] * f32(math.sqrt(0.5))))
    elif kind == GELU_TANH:
        for n in range(len(x)):  # 0.5 (1 + tanh u) = 1 / (1 + e^-2u)
            u = f32(math.sqrt(2 / math.pi)) * (x[n] + f32(0.044715) * x[n] * x[n] * x[n])
            x[n] = x[n] / (f32(1.0) + exp(f32(-2.0) * u))
    else:  # SiLU, of the gate
        for n in range(len(x)):
            x[n] = x[n] / (f32(1.0) + exp(-x[n]))


@compiled
def share(count, part, parts):
    """Return the first of `count` items that belong to a part, and the one after its last; four belong together."""
    each = (count + 4 * parts - 1) // (4 * parts) * 4
    return min(count, part * each), min(count, (part + 1) * each)


@compiled
def wait_for_all(gate, turn, parts):
    """Return when all parts have arrived at the gate this time, and the number of arrivals until now."""
    if parts == 1:
        return turn
    address, looks = address_in(gate, 0), 0
    arrive(address)
    while word_at(address) < turn + parts:
        looks += 1
        if looks > SPINS:
            let_others_run()
    return turn + parts


@compiled
def add_bias(bias_N, out_TNW, first, last):
    """Add to each output its bias, for the outputs from `first` to before `last`."""
    for t in range(len(out_TNW)):
        if out_TNW.shape[2] == WIDE:
            for n in range(first, last):
                for w in range(WIDE):
                    out_TNW[t, n, w] += bias_N[n]
        else:
            out_N = beside(out_TNW, t * out_TNW.shape[1], out_TNW.shape[1])
            for n in range(first, last):
                out_N[n] += bias_N[n]


@compiled
def scale_by(scale_N, out_TNW, first, last):
    """Multiply each output by its scale, for the outputs from `first` to before `last`."""
    for t in range(len(out_TNW)):
        if out_TNW.shape[2] == WIDE:
            for n in range(first, last):
                for w in range(WIDE):
                    out_TNW[t, n, w] *= scale_N[n]
        else:
            out_N = beside(out_TNW, t * out_TNW.shape[1], out_TNW.shape[1])
            for n in range(first, last):
                out_N[n] *= scale_N[n]


@compiled
def normalize_row(norm, epsilon, weight_C, x_C, out_C):
    """Write the LayerNorm or RMSNorm of one row."""
    width = len(weight_C)
    mean = f32(0.0)
    if norm == LAYERNORM:
        for c in range(width):
            mean += x_C[c]
        mean /= f32(width)
    square = f32(0.0)
    for c in range(width):
        square += (x_C[c] - mean) ** 2
    scale = f32(1.0) / math.sqrt(square / f32(width) + epsilon)
    for c in range(width):
        out_C[c] = (x_C[c] - mean) * scale * weight_C[c]


@compiled
def normalize_tile(norm, epsilon, weight_C, x_CW, out_CW):
    """Write the same of all rows of a wide tile."""
    width = len(weight_C)
    count = spread(f32(width))
    for first in (0, LANES):
        mean = square = spread(f32(0.0))
        if norm == LAYERNORM:
            for c in range(width):
                mean += lanes_at(x_CW, c * WIDE + first)
            mean /= count
        for c in range(width):
            x = lanes_at(x_CW, c * WIDE + first) - mean
            square += x * x
        scale = spread(f32(1.0)) / square_roots(square / count + spread(epsilon))
        for c in range(width):
            x = lanes_at(x_CW, c * WIDE + first) - mean
            put_lanes(out_CW, c * WIDE + first, x * scale * spread(weight_C[c]))


@compiled
def normalize(shape, numbers, weight, bias, x_TCW, out_TCW):
    """Write the LayerNorm or RMSNorm of each row of x."""
    stay_apart()
    tiles, width, rows = x_TCW.shape
    weight_C = vector(weight, width)
    for t in range(tiles):
        size = width * rows
        x, out = beside(x_TCW, t * size, size), beside(out_TCW, t * size, size)
        if rows == WIDE:
            normalize_tile(shape[NORM], numbers[EPSILON], weight_C, x, out)
        else:
            normalize_row(shape[NORM], numbers[EPSILON], weight_C, x, out)
    if bias != 0:
        add_bias(vector(bias, width), out_TCW, 0, width)


@compiled
def normalize_head(weight, epsilon, x_D):
    """Apply the RMSNorm of QK-norm to the query or key of one head, in place."""
    square = f32(0.0)
    for d in range(len(x_D)):
        square += x_D[d] * x_D[d]
    scale = f32(1.0) / math.sqrt(square / f32(len(x_D)) + epsilon)
    weight_D = vector(weight, len(x_D))
    for d in range(len(x_D)):
        x_D[d] *= scale * weight_D[d]


@compiled
def rotate(x_D, cos_E, sin_E):
    """Turn each pair (e, e + D/2) of a query or key by its angle, in place (Su et al. 2021, equation 34)."""
    half = len(x_D) // 2
    for e in range(half):
        a, b = x_D[e], x_D[half + e]
        x_D[e] = a * cos_E[e] - b * sin_E[e]
        x_D[half + e] = b * cos_E[e] + a * sin_E[e]


@compiled
def multiply(w_NM, x_BM, out_BN, first, last):
    """Write out[b, n] = sum over m of w[n, m] x[b, m], for the outputs from `first` to before `last`: for a few
    rows.

    The weights may be stored in fewer bits. Each is read from memory once. Two outputs at a time share the loads of x,
    and four rows those of the weights. The two are half of all apart, so that memory is read as two long streams, which
    the CPU fetches ahead of time. Of several short rows beside each other it does not see the order, and waits: that
    took twice as long. Some pairs of outputs are computed for all rows before the next, so that neither their weights
    nor the rows have to be fetched again.
    """
    stay_apart()
    rows, inputs = x_BM.shape
    half = (last - first) // 2
    for near in range(first, first + half, PAIRS):
        far, b = min(near + PAIRS, first + half), 0
        while b + 4 <= rows:
            for n in range(near, far):
                k = n + half
                s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = f32(0.0)
                for m in range(inputs):
                    w0, w1 = widened(w_NM[n, m]), widened(w_NM[k, m])
                    s00 += w0 * x_BM[b, m]
                    s01 += w0 * x_BM[b + 1, m]
                    s02 += w0 * x_BM[b + 2, m]
                    s03 += w0 * x_BM[b + 3, m]
                    s10 += w1 * x_BM[b, m]
                    s11 += w1 * x_BM[b + 1, m]
                    s12 += w1 * x_BM[b + 2, m]
                    s13 += w1 * x_BM[b + 3, m]
                out_BN[b, n], out_BN[b + 1, n], out_BN[b + 2, n], out_BN[b + 3, n] = s00, s01, s02, s03
                out_BN[b, k], out_BN[b + 1, k], out_BN[b + 2, k], out_BN[b + 3, k] = s10, s11, s12, s13
            b += 4
        while b < rows:
            for n in range(near, far):
                k = n + half
                s0 = s1 = f32(0.0)
                for m in range(inputs):
                    s0 += widened(w_NM[n, m]) * x_BM[b, m]
                    s1 += widened(w_NM[k, m]) * x_BM[b, m]
                out_BN[b, n], out_BN[b, k] = s0, s1
            b += 1
    for n in range(first + 2 * half, last):
        for b in range(rows):
            s0 = f32(0.0)
            for m in range(inputs):
                s0 += widened(w_NM[n, m]) * x_BM[b, m]
            out_BN[b, n] = s0


@compiled
def multiply_six(w_6M, x_MW, out_NW, n, next_NM, ahead, stride):
    """Write the outputs n to n + 5 of the rows of a wide tile.

    The weights that follow are fetched meanwhile, from the number `ahead` of `next_NM` on, `stride` for each m.

    Two loads of x and six of weights make twelve products of whole registers, and no sum runs across a register: the
    tile of Goto and van de Geijn (2008, Anatomy of high-performance matrix multiplication, section 6).
    """
    stay_apart()
    a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = e0 = e1 = f0 = f1 = spread(f32(0.0))
    for m in range(w_6M.shape[1]):
        ask_for(next_NM, ahead + m * stride)
        x0, x1 = lanes_at(x_MW, m * WIDE), lanes_at(x_MW, m * WIDE + LANES)
        a, b, c = spread(w_6M[0, m]), spread(w_6M[1, m]), spread(w_6M[2, m])
        d, e, f = spread(w_6M[3, m]), spread(w_6M[4, m]), spread(w_6M[5, m])
        a0, a1, b0, b1, c0, c1 = a0 + a * x0, a1 + a * x1, b0 + b * x0, b1 + b * x1, c0 + c * x0, c1 + c * x1
        d0, d1, e0, e1, f0, f1 = d0 + d * x0, d1 + d * x1, e0 + e * x0, e1 + e * x1, f0 + f * x0, f1 + f * x1
    put_lanes(out_NW, n * WIDE, a0)
    put_lanes(out_NW, n * WIDE + LANES, a1)
    put_lanes(out_NW, (n + 1) * WIDE, b0)
    put_lanes(out_NW, (n + 1) * WIDE + LANES, b1)
    put_lanes(out_NW, (n + 2) * WIDE, c0)
    put_lanes(out_NW, (n + 2) * WIDE + LANES, c1)
    put_lanes(out_NW, (n + 3) * WIDE, d0)
    put_lanes(out_NW, (n + 3) * WIDE + LANES, d1)
    put_lanes(out_NW, (n + 4) * WIDE, e0)
    put_lanes(out_NW, (n + 4) * WIDE + LANES, e1)
    put_lanes(out_NW, (n + 5) * WIDE, f0)
    put_lanes(out_NW, (n + 5) * WIDE + LANES, f1)


@compiled
def multiply_one(w_6M, x_MW, out_NW, n):
    """Write the output n of the rows of a wide tile, with the first row of weights."""
    stay_apart()
    a0 = a1 = spread(f32(0.0))
    for m in range(w_6M.shape[1]):
        w = spread(w_6M[0, m])
        a0 += w * lanes_at(x_MW, m * WIDE)
        a1 += w * lanes_at(x_MW, m * WIDE + LANES)
    put_lanes(out_NW, n * WIDE, a0)
    put_lanes(out_NW, n * WIDE + LANES, a1)


@compiled
def multiply_tiles(w_NM, x_TMW, out_TNW, room, first, last):
    """Write the same as `multiply`, for wide tiles.

    Six rows of stored weights are first made float32, in `room`: for all tiles at once, and many at a time.
    """
    stay_apart()
    tiles, inputs, _ = x_TMW.shape
    rows_6M = matrix(address_in(room, 0), SIX, inputs, np.float32)
    outputs = out_TNW.shape[1]
    n = first
    while n < last:
        count = SIX if last - first >= SIX else 1
        n = min(n, last - count)  # the last six may have been computed in part: the same again
        for i in range(count):
            for m in range(inputs):
                rows_6M[i, m] = widened(w_NM[n + i, m])
        for t in range(tiles):
            x_MW = beside(x_TMW, t * inputs * WIDE, inputs * WIDE)
            out_NW = beside(out_TNW, t * outputs * WIDE, outputs * WIDE)
            if count == SIX:
                multiply_six(rows_6M, x_MW, out_NW, n, w_NM, (n + SIX) * inputs, SIX if t == 0 else 0)
            else:
                multiply_one(rows_6M, x_MW, out_NW, n)
        n += count


@compiled
def multiply_as_stored(w_NM, x_TMW, out_TNW, room, first, last):
    """Write the outputs of `multiply` with tiles of any number of rows."""
    tiles, inputs, rows = x_TMW.shape
    if rows == WIDE:
        multiply_tiles(w_NM, x_TMW, out_TNW, room, first, last)
    else:
        x_BM = matrix(address_in(x_TMW, 0), tiles, inputs, np.float32)
        out_BN = matrix(address_in(out_TNW, 0), tiles, out_TNW.shape[1], np.float32)
        multiply(w_NM, x_BM, out_BN, first, last)


@compiled
def project(shape, weights, layer, x_TMW, out_TNW, room, part, parts):
    """Write a linear layer's outputs that belong to this part; return the first of them and the one after the last.

    The matrix is at the place `layer` of `weights`. In 8 bits each of its rows has a scale: W = scale * Q.
    """
    stay_apart()
    outputs, inputs = out_TNW.shape[1], x_TMW.shape[1]
    first, last = share(outputs, part, parts)
    if shape[STORED] == INT8:
        w_NM = matrix(weights[layer], outputs, inputs, np.int8)
        multiply_as_stored(w_NM, x_TMW, out_TNW, room, first, last)
        scale_by(vector(weights[layer + SCALE], outputs), out_TNW, first, last)
    elif shape[STORED] == BFLOAT16:
        w_NM = matrix(weights[layer], outputs, inputs, np.uint16)
        multiply_as_stored(w_NM, x_TMW, out_TNW, room, first, last)
    else:
        w_NM = matrix(weights[layer], outputs, inputs, np.float32)
        multiply_as_stored(w_NM, x_TMW, out_TNW, room, first, last)
    if weights[layer + BIAS] != 0:
        add_bias(vector(weights[layer + BIAS], outputs), out_TNW, first, last)
    return first, last


@compiled
def see(shape, place, scores_S):
    """Make the scores of the keys that a token at `place` does not see -inf (`attention.visible`)."""
    for s in range(place + 1):
        distance = place - s
        far = shape[STRIDE] > 0 and distance % shape[STRIDE] == 0
        if distance >= shape[WINDOW] and not far:
            scores_S[s] = -np.inf


@compiled
def score(q_D, keys_GDW, values_SD, place, scores_S):
    """Write q k for the keys before `place`. Some scores beyond it are written, too, and mean nothing.

    The values that are mixed next are fetched meanwhile.
    """
    width = len(q_D)
    for g in range((place + WIDE - 1) // WIDE):
        keys_DW = beside(keys_GDW, g * width * WIDE, width * WIDE)
        s0 = s1 = t0 = t1 = spread(f32(0.0))
        d = 0
        while (
            d + 2 <= width
        ):  # in four sums: a sum has to wait for its last addition, the others go on meanwhile
            q, r = spread(q_D[d]), spread(q_D[d + 1])
            ask_for(values_SD, (g * width + d) * WIDE)
            ask_for(values_SD, (g * width + d + 1) * WIDE)
            s0 += q * lanes_at(keys_DW, d * WIDE)
            s1 += q * lanes_at(keys_DW, d * WIDE + LANES)
            t0 += r * lanes_at(keys_DW, (d + 1) * WIDE)
            t1 += r * lanes_at(keys_DW, (d + 1) * WIDE + LANES)
            d += 2
        if d < width:
            s0 += spread(q_D[d]) * lanes_at(keys_DW, d * WIDE)
            s1 += spread(q_D[d]) * lanes_at(keys_DW, d * WIDE + LANES)
        put_lanes(scores_S, g * WIDE, s0 + t0)
        put_lanes(scores_S, g * WIDE + LANES, s1 + t1)


@compiled
def mix(scores_S, values_SD, keys_GDW, place, out_D):
    """Add the values before `place` to `out_D`, each as often as its score says.

    The keys of the next head or row, which lie behind these, are fetched meanwhile.
    """
    s, width, behind = 0, len(out_D), keys_GDW.size
    while s + 4 <= place:
        p0, p1, p2, p3 = scores_S[s], scores_S[s + 1], scores_S[s + 2], scores_S[s + 3]
        for near in range(0, 4 * width, WIDE):
            ask_for(keys_GDW, behind + s * width + near)
        for d in range(len(out_D)):
            v0, v1 = widened(values_SD[s, d]), widened(values_SD[s + 1, d])
            v2, v3 = widened(values_SD[s + 2, d]), widened(values_SD[s + 3, d])
            out_D[d] += (p0 * v0 + p1 * v1) + (p2 * v2 + p3 * v3)
        s += 4
    while s < place:
        for d in range(len(out_D)):
            out_D[d] += scores_S[s] * widened(values_SD[s, d])
        s += 1


@compiled
def attend(shape, place, q_D, key_D, value_D, keys_GDW, values_SD, scores_S, out_D):
    """Write the values mixed by softmax(q k / sqrt(D)), for one head of one token (Vaswani et al. 2017, equation 1).

    The cache holds keys in groups: the first numbers of `WIDE` keys, then their second numbers, and so on. One
    instruction then reads the same number of many keys, and no sum runs across a register. Values are held one after
    the other. Both are read as one long stream, which the processor fetches ahead. For the same reason the token's own
    key and value are passed beside the cache, which gets them later.
    """
    stay_apart()
    count, scale, own = place + 1, f32(1.0) / math.sqrt(f32(len(q_D))), f32(0.0)
    for d in range(len(q_D)):
        q_D[d] *= scale
        own += q_D[d] * key_D[d]
    score(q_D, keys_GDW, values_SD, place, scores_S)
    scores_S[place] = own
    if count > shape[WINDOW]:
        see(shape, place, scores_S)
    highest = scores_S[0]
    for s in range(count):
        highest = scores_S[s] if scores_S[s] > highest else highest
    total = f32(0.0)
    for s in range(count):
        scores_S[s] = exp(scores_S[s] - highest)
        total += scores_S[s]
    for d in range(len(out_D)):
        out_D[d] = scores_S[place] * value_D[d]
    mix(scores_S, values_SD, keys_GDW, place, out_D)
    for d in range(len(out_D)):
        out_D[d] /= total


@compiled
def first_unit(share, rows_B, heads):
    """Return the first unit of attention from a number on that does not go on with a text: see `attention`."""
    count = len(rows_B)
    while share < heads * count and share % count > 0 and rows_B[share % count] == rows_B[share % count - 1]:
        share += 1
    return share


@compiled
def attention(
    shape, numbers, weights, turns, places, rows_B, is_many, qkv_TNW, keys_RKGDW, values_RKSD, head_4D, scores_S,
    out_TNW, part, parts,
):  # fmt: skip
    """Write what each token's heads read in the cache, and add the token's key and value to it.

    A unit of this work is one token and one key/value head, with the query heads that read it. Where a text has several
    tokens (`is_many`), each of them reads the keys of those before it, so one part computes them all, in their order.
    """
    stay_apart()
    heads, kv_heads, width, wide = shape[HEADS], shape[KV_HEADS], shape[HEAD_DIM], qkv_TNW.shape[2]
    group, units, count = heads // kv_heads, len(places) * kv_heads, len(places)
    q_D, key_D, value_D, out_D = head_4D[0], head_4D[1], head_4D[2], head_4D[3]
    first, last = units * part // parts, units * (part + 1) // parts
    if is_many:
        first, last = first_unit(first, rows_B, kv_heads), first_unit(last, rows_B, kv_heads)
    for unit in range(first, last):
        b, k = (unit % count, unit // count) if is_many else (unit // kv_heads, unit % kv_heads)
        place, row, t, w = places[b], rows_B[b], b // wide, b % wide
        for d in range(width):
            key_D[d] = qkv_TNW[t, (heads + k) * width + d, w]
            value_D[d] = qkv_TNW[t, (heads + kv_heads + k) * width + d, w]
        if weights[KEY_NORM] != 0:
            normalize_head(weights[KEY_NORM], numbers[EPSILON], key_D)
        if shape[ROTARY]:
            rotate(key_D, turns[0, place], turns[1, place])
        for h in range(k * group, (k + 1) * group):
            for d in range(width):
                q_D[d] = qkv_TNW[t, h * width + d, w]
            if weights[QUERY_NORM] != 0:
                normalize_head(weights[QUERY_NORM], numbers[EPSILON], q_D)
            if shape[ROTARY]:
                rotate(q_D, turns[0, place], turns[1, place])
            attend(
                shape, place, q_D, key_D, value_D, keys_RKGDW[row, k], values_RKSD[row, k], scores_S, out_D
            )
            for d in range(width):
                out_TNW[t, h * width + d, w] = out_D[d]
        for d in range(width):  # now that the cache was read
            keys_RKGDW[row, k, place // WIDE, d, place % WIDE] = narrowed(key_D[d], keys_RKGDW)
            values_RKSD[row, k, place, d] = narrowed(value_D[d], values_RKSD)


@compiled
def embed(shape, numbers, weights, ids, places, x_TCW):
    """Write the vector that enters the first block, for each row; what no text fills is 0."""
    tiles, width, rows = x_TCW.shape
    embedding_VC = matrix(weights[EMBEDDING], shape[VOCABULARY], width, np.float32)
    for b in range(tiles * rows):
        t, w = b // rows, b % rows
        for c in range(width):
            x_TCW[t, c, w] = embedding_VC[ids[b], c] * numbers[EMBEDDING_SCALE] if b < len(ids) else f32(0.0)
        if b < len(ids) and weights[POSITIONS] != 0:
            position_C = matrix(weights[POSITIONS], places[b] + 1, width, np.float32)[places[b]]
            for c in range(width):
                x_TCW[t, c, w] += position_C[c]


@compiled
def add(from_TCW, to_TCW, first, last):
    """Add a branch to the residual stream, where this part computed it."""
    tiles, width, rows = to_TCW.shape
    for t in range(tiles):
        begin, size = (t * width + first) * rows, (last - first) * rows
        from_N, to_N = beside(from_TCW, begin, size), beside(to_TCW, begin, size)
        for n in range(size):
            to_N[n] += from_N[n]


@compiled
def pick(x_TCW, wanted, out_TCW):
    """Write the rows of x that are `wanted`, one after the other, into tiles that may have another width."""
    wide, width = x_TCW.shape[2], x_TCW.shape[1]
    tiles, _, rows = out_TCW.shape
    for i in range(tiles * rows):
        b = wanted[min(i, len(wanted) - 1)]  # what no row fills repeats the last
        for c in range(width):
            out_TCW[i // rows, c, i % rows] = x_TCW[b // wide, c, b % wide]


@compiled
def write_rows(logits_TVW, logits_BV, first, last):
    """Write the logits of tiles row by row, for the tokens from `first` to before `last`."""
    rows = logits_TVW.shape[2]
    for t in range(len(logits_TVW)):
        for near in range(first, last, WIDE):
            for b in range(t * rows, min((t + 1) * rows, len(logits_BV))):
                for v in range(near, min(near + WIDE, last)):
                    logits_BV[b, v] = logits_TVW[t, v, b - t * rows]


@compiled
def step(
    ids, places, rows_B, wanted, shape, numbers, weights, turns, keys_LRKGDW, values_LRKSD,
    x_TCW, a_PTCW, qkv_TNW, mixed_TNW, gate_TFW, up_TFW, last_PTCW, logits_TVW, heads_P4D, scores_PS, room_PM,
    logits_BV, gate, turn, part, parts,
):  # fmt: skip
    """Add tokens to texts in the cache, and write the logits (B, V) after those that are `wanted`.

    `ids` (B,) are the tokens, `places` (B,) the numbers of tokens before them, and `rows_B` the rows of the cache where
    their texts are. A text that is written gets one token. One that is read gets several, beside each other and in
    order. `turns` (2, S, E) are the cosines and sines of the rotary positions. The arrays from `x_TCW` to `room_PM` are
    room to work in; where a tile is one row, `logits_TVW` may be the memory of `logits_BV`. `gate` (1,) is the
    number of arrivals at the gate, and `turn` that number when the step begins. Returns what it is at the end.
    """
    layers, a_TCW, room = shape[LAYERS], a_PTCW[part], room_PM[part]
    rest = weights[layers]
    if part == 0:
        embed(shape, numbers, rest, ids, places, x_TCW)
    turn = wait_for_all(gate, turn, parts)
    for layer in range(layers):
        w = weights[layer]
        # Every part needs the whole of what is normed, and norms it in its own room: that is faster than waiting.
        normalize(shape, numbers, w[ATTENTION_NORM], w[ATTENTION_NORM_BIAS], x_TCW, a_TCW)
        project(shape, w, QKV, a_TCW, qkv_TNW, room, part, parts)
        turn = wait_for_all(gate, turn, parts)
        attention(
            shape, numbers, w, turns, places, rows_B, len(wanted) < len(ids), qkv_TNW, keys_LRKGDW[layer],
            values_LRKSD[layer], heads_P4D[part], scores_PS[part], mixed_TNW, part, parts,
        )  # fmt: skip
        turn = wait_for_all(gate, turn, parts)
        first, last = project(shape, w, OUTPUT, mixed_TNW, a_TCW, room, part, parts)
        add(a_TCW, x_TCW, first, last)
        turn = wait_for_all(gate, turn, parts)
        normalize(shape, numbers, w[MLP_NORM], w[MLP_NORM_BIAS], x_TCW, a_TCW)
        first, last = project(shape, w, UP, a_TCW, up_TFW, room, part, parts)
        if w[GATE] != 0:
            project(shape, w, GATE, a_TCW, gate_TFW, room, part, parts)
        tiles, width, rows = up_TFW.shape
        for t in range(tiles):
            begin, size = (t * width + first) * rows, (last - first) * rows
            up_F = beside(up_TFW, begin, size)
            if w[GATE] != 0:
                gate_F = beside(gate_TFW, begin, size)
                activate(shape[ACTIVATION], gate_F)
                for n in range(size):
                    up_F[n] *= gate_F[n]
            else:
                activate(shape[ACTIVATION], up_F)
        turn = wait_for_all(gate, turn, parts)
        first, last = project(shape, w, DOWN, up_TFW, a_TCW, room, part, parts)
        add(a_TCW, x_TCW, first, last)
        turn = wait_for_all(gate, turn, parts)
    last_TCW = last_PTCW[part]
    pick(x_TCW, wanted, last_TCW)
    normalize(shape, numbers, rest[FINAL_NORM], rest[FINAL_NORM_BIAS], last_TCW, last_TCW)
    first, last = project(shape, rest, HEAD, last_TCW, logits_TVW, room, part, parts)
    if logits_TVW.shape[2] == WIDE:
        write_rows(logits_TVW, logits_BV, first, last)
    return wait_for_all(gate, turn, parts)


@compiled
def help(
    ids, places, rows_B, wanted, shape, numbers, weights, turns, keys_LRKGDW, values_LRKSD,
    x_TCW, a_PTCW, qkv_TNW, mixed_TNW, gate_TFW, up_TFW, last_PTCW, logits_TVW, heads_P4D, scores_PS, room_PM,
    logits_BV, gate, turn, note, part, parts,
):  # fmt: skip
    """Take a part in a step, and in those with the same arrays that follow soon: waking a thread takes 0.1 ms.

    `note` (1,) is where a helper and the thread that calls it leave word for each other.
    """
    address = address_in(note, 0)
    while True:
        put_word(address, READY)  # before the last gate of the step, after which the next may come
        turn = step(
            ids, places, rows_B, wanted, shape, numbers, weights, turns, keys_LRKGDW, values_LRKSD,
            x_TCW, a_PTCW, qkv_TNW, mixed_TNW, gate_TFW, up_TFW, last_PTCW, logits_TVW, heads_P4D, scores_PS,
            room_PM, logits_BV, gate, turn, part, parts,
        )  # fmt: skip
        looks = 0
        while word_at(address) == READY:
            looks += 1
            if looks > SPINS + PATIENCE:
                replace_word(address, READY, ASLEEP)
            elif looks > SPINS:
                let_others_run()
        if word_at(address) != CALLED:
            return


@compiled
def call(note):
    """Call a helper that is ready for the next step; return whether it was."""
    return replace_word(address_in(note, 0), READY, CALLED)


@compiled
def dismiss(note):
    """Let a helper that is ready return, because what follows has other arrays."""
    replace_word(address_in(note, 0), READY, DISMISSED)
