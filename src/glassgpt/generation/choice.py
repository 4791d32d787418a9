"""The next id of each text, from its logits: with torch, or with the loops of `loop_choice` where those are loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from glassgpt.generation.sampling import SamplingConfig, distribution, draw, penalize_repetition
from glassgpt.generation.texts import Text


class LoopChoice:
    """Chooses with the loops for some texts, which stay the same. It needs numba, and logits in float32 on the CPU."""

    def __init__(self, texts: Sequence[Text], vocab_size: int) -> None:
        from glassgpt.generation.loop_choice import LoopChooser

        self._chooser = LoopChooser(len(texts), vocab_size)
        self._draws = [text.draws for text in texts]
        self._texts = list(texts) if any(text.sampling.repetition_penalty != 1.0 for text in texts) else []
        self._chooser.set(
            [text.sampling for text in texts],
            [None if text.bias is None else text.bias.numpy() for text in texts],
        )

    def next_ids(self, logits_BV: Tensor) -> list[int]:
        """Return the next id of each text, -1 where its logits are broken."""
        uniforms = [0.0 if draws is None else draws.next() for draws in self._draws]
        seen = [
            None if text.sampling.repetition_penalty == 1.0 else np.array(text.ids[text.start :])
            for text in self._texts
        ]
        return self._chooser.next_ids(logits_BV.numpy(), uniforms, seen)


@torch.inference_mode()
def next_ids(logits_BV: Tensor, texts: Sequence[Text]) -> list[int]:
    """Return the next id of each text, -1 where its logits are broken."""
    logits_BV = _biased(logits_BV, texts)
    sampling = texts[0].sampling
    if all(text.sampling is sampling for text in texts):
        return _ids_alike(logits_BV, texts, sampling)
    alike: dict[SamplingConfig, list[int]] = {}
    for place, text in enumerate(texts):
        alike.setdefault(text.sampling, []).append(place)
    ids = [-1] * len(texts)
    for sampling, places in alike.items():
        found = _ids_alike(logits_BV[places], [texts[place] for place in places], sampling)
        for place, id in zip(places, found, strict=True):
            ids[place] = id
    return ids


def _ids_alike(logits_BV: Tensor, texts: Sequence[Text], sampling: SamplingConfig) -> list[int]:
    if sampling.temperature == 0:
        if sampling.repetition_penalty != 1.0:
            logits_BV = penalize_repetition(
                logits_BV, _seen(texts, logits_BV.device), sampling.repetition_penalty
            )
        largest_B, ids_B = logits_BV.max(-1)  # the maximum is NaN where any logit is
        return [
            id if math.isfinite(largest) else -1
            for id, largest in zip(ids_B.tolist(), largest_B.tolist(), strict=True)
        ]
    seen = _seen(texts, logits_BV.device) if sampling.repetition_penalty != 1.0 else logits_BV  # not used
    probabilities_BV = distribution(logits_BV, seen, sampling)
    uniforms = [[text.draws.next()] for text in texts if text.draws is not None]
    ids = draw(probabilities_BV, torch.tensor(uniforms, dtype=torch.float64))[:, 0].tolist()
    return [id if id < logits_BV.shape[1] else -1 for id in ids]


def _seen(texts: Sequence[Text], device: torch.device) -> Tensor:
    """Return the ids in each text's window, (B, T); shorter rows repeat some of theirs."""
    windows = [text.ids[text.start :] for text in texts]
    longest = max(map(len, windows))
    return torch.tensor([window + window[:1] * (longest - len(window)) for window in windows], device=device)


def _biased(logits_BV: Tensor, texts: Sequence[Text]) -> Tensor:
    """Return the logits with what each request adds to them."""
    bias = texts[0].bias
    if any(text.bias is not bias for text in texts):
        none_V = torch.zeros_like(logits_BV[0])
        return logits_BV + torch.stack([none_V if text.bias is None else text.bias for text in texts])
    return logits_BV if bias is None else logits_BV + bias
