"""One step of a GPT in plain loops: what the model computes for one more token, from the id to the logits.

    embedding -> n_layer x [ norm, queries/keys/values, attention over the cache, add | norm, MLP, add ] -> norm -> head

It is the same computation as `model.gpt`, without tensors. Read it like a small C program: `step` at the end is the
whole model, and what it calls stands above it. numba compiles it for the CPU that it runs on, so nothing is left of a
step but its arithmetic. `loop_engine` lays out the arrays that are passed here.

All numbers are float32. Matrices may be stored in 8 or 16 bits; they become float32 in the registers. The rows of a
step are the texts that are written together; each weight is read once for all of them. Several threads may run `step`
at the same time on the same arrays, each as its own `part` of `parts`: they share the outputs of each product, and wait
at a gate before those are used.

Legend: B rows, C = n_embd, H query heads, K key/value heads, D head width, E = D / 2 pairs, F MLP width, V vocabulary,
S tokens in the cache, L layers, M inputs and N outputs of a product.
"""

from __future__ import annotations

# pyright: reportCallIssue=false, reportPrivateImportUsage=false
# It does not know how numba passes arguments to what is compiled.
import math

import numpy as np
from numba import carray, njit

from glassgpt.generation.machine_words import (
    address_of,
    arrivals,
    arrive,
    bits_as_float,
    let_others_run,
    widened,
)

compiled = njit(
    # Sums may be taken in any order, and a product and a sum may become one instruction. Only then do loops use the
    # whole width of the registers. Infinity and NaN stay what they are.
    fastmath={"reassoc", "contract", "nsz", "arcp"},
    error_model="numpy",
    boundscheck=False,
    nogil=True,
    cache=True,
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
# A linear layer has three: its matrix, and at the next two places its bias and the scale of each output.
QKV, OUTPUT, GATE, UP, DOWN = range(6, 21, 3)
BIAS, SCALE = 1, 2
# The same in its last row, for what belongs to no layer.
EMBEDDING, POSITIONS, FINAL_NORM, FINAL_NORM_BIAS, HEAD = range(5)
ADDRESSES = 21

PAIRS = 4
"""Pairs of outputs that are computed for all rows before the next ones."""
SPINS = 2000
"""How often a thread looks whether the others have arrived before it lets another program run on its core."""


@compiled
def vector(address, size):
    """Return the float32 numbers at an address, (size,)."""
    return carray(address_of(address), (size,), np.float32)


@compiled
def matrix(address, rows, columns, dtype):
    """Return the matrix at an address, (rows, columns)."""
    return carray(address_of(address), (rows, columns), dtype)


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
    arrive(gate)
    looks = 0
    while arrivals(gate) < turn + parts:
        looks += 1
        if looks > SPINS:
            let_others_run()
    return turn + parts


@compiled
def normalize(shape, numbers, weight, bias, x_BC, out_BC):
    """Write the LayerNorm or RMSNorm of each row of x."""
    rows, width = x_BC.shape
    weight_C = vector(weight, width)
    for b in range(rows):
        mean = f32(0.0)
        if shape[NORM] == LAYERNORM:
            for c in range(width):
                mean += x_BC[b, c]
            mean /= f32(width)
        square = f32(0.0)
        for c in range(width):
            square += (x_BC[b, c] - mean) ** 2
        scale = f32(1.0) / math.sqrt(square / f32(width) + numbers[EPSILON])
        for c in range(width):
            out_BC[b, c] = (x_BC[b, c] - mean) * scale * weight_C[c]
        if bias != 0:
            bias_C = vector(bias, width)
            for c in range(width):
                out_BC[b, c] += bias_C[c]


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
    """Write out[b, n] = sum over m of w[n, m] x[b, m], for the outputs from `first` to before `last`.

    The weights may be stored in fewer bits. Each is read from memory once. Two outputs at a time share the loads of x,
    and four rows those of the weights. The two are half of all apart, so that memory is read as two long streams, which
    the CPU fetches ahead of time. Of several short rows beside each other it does not see the order, and waits: that
    took twice as long. Some pairs of outputs are computed for all rows before the next, so that neither their weights
    nor the rows have to be fetched again.
    """
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
def project(shape, weights, layer, x_BM, out_BN, part, parts):
    """Write a linear layer's outputs that belong to this part; return the first of them and the one after the last.

    The matrix is at the place `layer` of `weights`. In 8 bits each of its rows has a scale: W = scale * Q.
    """
    outputs, inputs = out_BN.shape[1], x_BM.shape[1]
    first, last = share(outputs, part, parts)
    if shape[STORED] == INT8:
        multiply(matrix(weights[layer], outputs, inputs, np.int8), x_BM, out_BN, first, last)
        scale_N = vector(weights[layer + SCALE], outputs)
        for b in range(len(out_BN)):
            for n in range(first, last):
                out_BN[b, n] *= scale_N[n]
    elif shape[STORED] == BFLOAT16:
        multiply(matrix(weights[layer], outputs, inputs, np.uint16), x_BM, out_BN, first, last)
    else:
        multiply(matrix(weights[layer], outputs, inputs, np.float32), x_BM, out_BN, first, last)
    if weights[layer + BIAS] != 0:
        bias_N = vector(weights[layer + BIAS], outputs)
        for b in range(len(out_BN)):
            for n in range(first, last):
                out_BN[b, n] += bias_N[n]
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
def attend(shape, place, q_D, key_D, value_D, keys_DS, values_DS, scores_S, out_D):
    """Write the values mixed by softmax(q k / sqrt(D)), for one head of one token (Vaswani et al. 2017, equation 1).

    The cache holds the first number of every key, then the second number of every key, and so on. One instruction then
    reads the same number of many keys, and no sum runs across a register. Values are held in the same way. Both are
    read from one end to the other. Several rows at a time would share the loads of the scores, but the processor
    fetches one long stream ahead and gives up on several short ones; with many texts that took twice as long. For the
    same reason the token's own key and value are passed beside the cache, which gets them later.
    """
    width, count = len(q_D), place + 1
    scale = f32(1.0) / math.sqrt(f32(width))
    for s in range(count):
        scores_S[s] = f32(0.0)
    for d in range(width):
        q = q_D[d] * scale
        for s in range(place):
            scores_S[s] += q * keys_DS[d, s]
        scores_S[place] += q * key_D[d]
    if count > shape[WINDOW]:
        see(shape, place, scores_S)
    highest = scores_S[0]
    for s in range(count):
        highest = scores_S[s] if scores_S[s] > highest else highest
    total = f32(0.0)
    for s in range(count):
        scores_S[s] = exp(scores_S[s] - highest)
        total += scores_S[s]
    part = f32(1.0) / total
    for d in range(width):
        mixed = scores_S[place] * value_D[d]
        for s in range(place):
            mixed += scores_S[s] * values_DS[d, s]
        out_D[d] = mixed * part


@compiled
def attention(
    shape, numbers, weights, turns, places, qkv_BN, keys_BKDS, values_BKDS, scores_S, out_BN, part, parts
):
    """Write what each row's heads read in the cache, and add the row's key and value to it.

    A part has its own key/value heads, with the query heads that read them.
    """
    heads, kv_heads, width = shape[HEADS], shape[KV_HEADS], shape[HEAD_DIM]
    group, units = heads // kv_heads, len(places) * kv_heads
    first, last = units * part // parts, units * (part + 1) // parts
    for unit in range(first, last):
        b, k = unit // kv_heads, unit % kv_heads
        place = places[b]
        key_D = qkv_BN[b, (heads + k) * width : (heads + k + 1) * width]
        value_D = qkv_BN[b, (heads + kv_heads + k) * width : (heads + kv_heads + k + 1) * width]
        if weights[KEY_NORM] != 0:
            normalize_head(weights[KEY_NORM], numbers[EPSILON], key_D)
        if shape[ROTARY]:
            rotate(key_D, turns[0, place], turns[1, place])
        for h in range(k * group, (k + 1) * group):
            q_D = qkv_BN[b, h * width : (h + 1) * width]
            if weights[QUERY_NORM] != 0:
                normalize_head(weights[QUERY_NORM], numbers[EPSILON], q_D)
            if shape[ROTARY]:
                rotate(q_D, turns[0, place], turns[1, place])
            attend(
                shape,
                place,
                q_D,
                key_D,
                value_D,
                keys_BKDS[b, k],
                values_BKDS[b, k],
                scores_S,
                out_BN[b, h * width : (h + 1) * width],
            )
        for d in range(width):  # now that the cache was read: each number goes to another place in memory
            keys_BKDS[b, k, d, place] = key_D[d]
            values_BKDS[b, k, d, place] = value_D[d]


@compiled
def embed(shape, numbers, weights, ids, places, x_BC):
    """Write the vector that enters the first block, for each row."""
    width = x_BC.shape[1]
    embedding_VC = matrix(weights[EMBEDDING], shape[VOCABULARY], width, np.float32)
    for b in range(len(ids)):
        for c in range(width):
            x_BC[b, c] = embedding_VC[ids[b], c] * numbers[EMBEDDING_SCALE]
        if weights[POSITIONS] != 0:
            position_C = matrix(weights[POSITIONS], places[b] + 1, width, np.float32)[places[b]]
            for c in range(width):
                x_BC[b, c] += position_C[c]


@compiled
def add(from_BC, to_BC, first, last):
    """Add a branch to the residual stream, where this part computed it."""
    for b in range(len(to_BC)):
        for c in range(first, last):
            to_BC[b, c] += from_BC[b, c]


@compiled
def step(
    ids, places, shape, numbers, weights, turns, keys_LBKDS, values_LBKDS,
    x_BC, a_PBC, qkv_BN, mixed_BN, gate_BF, up_BF, scores_PS, logits_BV, gate, turn, part, parts,
):  # fmt: skip
    """Write the logits (B, V) after one more token in each row, and add the token to the cache.

    `ids` (B,) are the tokens and `places` (B,) the numbers of tokens before them. `turns` (2, S, E) are the cosines and
    sines of the rotary positions. The arrays from `x_BC` to `scores_PS` are room to work in. `gate` is the address
    of the number of arrivals at the gate, and `turn` that number when the step begins. Returns what it is at the end.
    """
    layers, a_BC = shape[LAYERS], a_PBC[part]
    rest = weights[layers]
    if part == 0:
        embed(shape, numbers, rest, ids, places, x_BC)
    turn = wait_for_all(gate, turn, parts)
    for layer in range(layers):
        w = weights[layer]
        # Every part needs the whole of what is normed, and norms it in its own room: that is faster than waiting.
        normalize(shape, numbers, w[ATTENTION_NORM], w[ATTENTION_NORM_BIAS], x_BC, a_BC)
        project(shape, w, QKV, a_BC, qkv_BN, part, parts)
        turn = wait_for_all(gate, turn, parts)
        attention(
            shape, numbers, w, turns, places, qkv_BN, keys_LBKDS[layer], values_LBKDS[layer], scores_PS[part],
            mixed_BN, part, parts,
        )  # fmt: skip
        turn = wait_for_all(gate, turn, parts)
        first, last = project(shape, w, OUTPUT, mixed_BN, a_BC, part, parts)
        add(a_BC, x_BC, first, last)
        turn = wait_for_all(gate, turn, parts)
        normalize(shape, numbers, w[MLP_NORM], w[MLP_NORM_BIAS], x_BC, a_BC)
        first, last = project(shape, w, UP, a_BC, up_BF, part, parts)
        if w[GATE] != 0:
            project(shape, w, GATE, a_BC, gate_BF, part, parts)
        for b in range(len(ids)):
            if w[GATE] != 0:
                activate(shape[ACTIVATION], gate_BF[b, first:last])
                for n in range(first, last):
                    up_BF[b, n] *= gate_BF[b, n]
            else:
                activate(shape[ACTIVATION], up_BF[b, first:last])
        turn = wait_for_all(gate, turn, parts)
        first, last = project(shape, w, DOWN, up_BF, a_BC, part, parts)
        add(a_BC, x_BC, first, last)
        turn = wait_for_all(gate, turn, parts)
    normalize(shape, numbers, rest[FINAL_NORM], rest[FINAL_NORM_BIAS], x_BC, a_BC)
    project(shape, rest, HEAD, a_BC, logits_BV, part, parts)
    return wait_for_all(gate, turn, parts)
