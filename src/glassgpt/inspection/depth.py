"""Sizes along depth: how large the residual stream is, what each part adds to it, and what is saturated or dead.

The stream changes only by what attention and MLP add (`points`: input + attention = middle, middle + mlp = output).
Here are the numbers that show whether a layer does much or little. A layer that hardly changes the stream has small
ratios and a cosine near 1. One whose attention has collapsed onto single tokens has a saturation near 1.

Legend: T tokens, S keys, C = n_embd, H query heads, D head width, F MLP width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glassgpt.generation.likelihood import LOGITS_AT_ONCE
from glassgpt.inspection.seen import as_row, mask_of
from glassgpt.model.attend import attention_weights
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.points import looking

OF_A_BLOCK = ("input", "queries", "keys", "attention", "middle", "neurons", "mlp", "output")


@dataclass(frozen=True)
class Depth:
    """The sizes at one point of the stream; None where a number does not exist there. |x| is the L2 norm."""

    point: str
    """`embedding`, `blocks.i.output` or `final`, as in `model.points`."""
    stream: float
    """Mean over tokens of |x_t|, x being the value at the point."""
    attention: float | None = None
    """Mean over tokens of |a_t|, a being what the block's attention adds."""
    mlp: float | None = None
    """Mean over tokens of |m_t|, m being what the block's MLP adds."""
    attention_ratio: float | None = None
    """Mean over tokens of |a_t| / |input_t|: how large it is beside the stream that it is added to."""
    mlp_ratio: float | None = None
    """Mean over tokens of |m_t| / |middle_t|."""
    cosine: float | None = None
    """Mean over tokens of input_t . output_t / (|input_t| |output_t|): 1 where the block keeps the direction."""
    dead: float | None = None
    """Share of the MLP's neurons whose value is above 0 at no token of the text.

    For relu and relu2 such a neuron adds nothing and learns nothing from this text. For gelu it is only nearly off:
    its values are from -0.17 to 0. For a gated MLP (swiglu) the value is a product of either sign, so it says that the
    product was never positive, and not that the neuron is off.
    """
    saturation: float | None = None
    """Mean over heads, and over tokens that see two keys or more, of the largest attention weight: 1 where each attends
    to a single token. None where no token sees two."""
    entropy: float | None = None
    """At `final`: mean over tokens of -sum_v p_v log p_v, in nats, p being the softmax of the logits."""
    entropy_share: float | None = None
    """The entropy divided by log V: 1 where all tokens of the vocabulary are equally likely."""


@torch.inference_mode()
def along_depth(model: GPT, ids: Sequence[int]) -> list[Depth]:
    """Return the sizes at the embedding, after each block, and after the final norm: n_layer + 2 of them.

    A ratio or a cosine counts 0 at a token where the vector below the line is zero. Only the numbers of one layer are
    in memory at a time, and the attention weights of one head.

    Raises `InspectionError` for an empty text and for one that the context does not hold.
    """
    row_1T = as_row(model, ids)
    found: list[Depth] = []
    held: dict[str, Tensor] = {}

    def look(name: str, value: Tensor) -> None:
        point = name.rpartition(".")[2]
        held[point] = value[0].float()
        if point == "embedding":
            found.append(Depth(name, _size(held[point])))
        elif point == "output":
            found.append(_of_block(model.config, name, held))
            held.clear()

    names = ("embedding", *(f"blocks.*.{point}" for point in OF_A_BLOCK))
    with evaluating(model), looking(model, *names, see=look):
        final_TC = model.hidden(row_1T)[0]
        entropy = _entropy(model, final_TC)
    largest = math.log(model.config.vocab_size)
    share = entropy / largest if largest else 0.0
    return [*found, Depth("final", _size(final_TC.float()), entropy=entropy, entropy_share=share)]


def _of_block(config: ModelConfig, name: str, held: dict[str, Tensor]) -> Depth:
    before_TC, after_TC = held["input"], held["output"]
    dots_T = (before_TC * after_TC).sum(-1)
    return Depth(
        name,
        stream=_size(after_TC),
        attention=_size(held["attention"]),
        mlp=_size(held["mlp"]),
        attention_ratio=_mean_quotient(held["attention"].norm(dim=-1), before_TC.norm(dim=-1)),
        mlp_ratio=_mean_quotient(held["mlp"].norm(dim=-1), held["middle"].norm(dim=-1)),
        cosine=_mean_quotient(dots_T, before_TC.norm(dim=-1) * after_TC.norm(dim=-1)),
        dead=float((held["neurons"].amax(0) <= 0).float().mean()),
        saturation=_saturation(config, held["queries"], held["keys"]),
    )


def _size(x_TC: Tensor) -> float:
    return float(x_TC.norm(dim=-1).mean())


def _mean_quotient(above_T: Tensor, below_T: Tensor) -> float:
    return float(torch.where(below_T > 0, above_T / below_T, 0.0).mean())


def _saturation(config: ModelConfig, q_HTD: Tensor, k_KTD: Tensor) -> float | None:
    """Return the mean of the largest weights, computed head by head."""
    mask_TT = mask_of(config, q_HTD.shape[1], q_HTD.device)
    choosing_T = mask_TT.sum(-1) >= 2
    if not choosing_T.any():
        return None
    share = len(q_HTD) // len(k_KTD)  # query heads that read one key head
    largest = [
        attention_weights(q_TD[None, None], k_KTD[None, head // share, None], mask_TT)[0, 0]
        .amax(-1)[choosing_T]
        .mean()
        for head, q_TD in enumerate(q_HTD)
    ]
    return float(torch.stack(largest).mean())


def _entropy(model: GPT, final_TC: Tensor) -> float:
    """Return the mean entropy of the next token in nats; few logits are in memory at a time."""
    at_once = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    entropies = []
    for some_NC in final_TC.split(at_once):
        log_p_NV = model.logits(some_NC).float().log_softmax(-1)
        entropies.append(-(log_p_NV.exp() * log_p_NV).sum(-1))
    return float(torch.cat(entropies).mean())
