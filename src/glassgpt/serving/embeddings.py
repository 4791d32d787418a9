"""`/v1/embeddings`: a text as a vector, the mean of the model's final hidden states over the text, of length 1.

A model that was trained to continue texts was not trained to place them: its vectors are good enough to find texts
that resemble each other in wording, and no match for a model trained to embed.

Legend: B texts, T tokens, C width.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence

import torch
from torch import Tensor

from glassgpt.generation.engine import evaluating
from glassgpt.model.gpt import GPT
from glassgpt.serving.answers import Embeddings
from glassgpt.serving.errors import Refused
from glassgpt.serving.models import Loaded
from glassgpt.serving.prompts import Prompt, prompt_of
from glassgpt.serving.schemas import EmbeddingAsked
from glassgpt.serving.writing import Service

TOKENS_AT_ONCE = 4096
"""The most tokens that are read between two steps of those who write, padding included."""


async def embed(service: Service, asked: EmbeddingAsked) -> Embeddings:
    """Return the vector of each text."""
    if asked.encoding_format not in (None, "float", "base64"):
        raise Refused(400, "encoding_format must be float or base64.", param="encoding_format")
    async with service.models.using(asked.model) as loaded:
        width = loaded.run.model.config.n_embd
        if asked.dimensions not in (None, width):
            raise Refused(
                400,
                f"The vectors of {loaded.name} have {width} numbers; no other is possible.",
                param="dimensions",
            )
        prompts = await asyncio.to_thread(_prompts, asked, loaded)
        with service.admission.of(len(prompts)):
            vectors: list[list[float]] = []
            for group in _groups(prompts):
                vectors += await loaded.worker.call(mean_hidden, loaded.run.model, group)
        tokens = sum(len(prompt.own) for prompt in prompts)
        service.metrics.read.labels(loaded.name).inc(tokens)
        coded = [_base64(vector) if asked.encoding_format == "base64" else vector for vector in vectors]
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(coded)
            ],
            "model": loaded.name,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }


def _prompts(asked: EmbeddingAsked, loaded: Loaded) -> list[Prompt]:
    several = len(asked.input) > 1
    prompts = []
    for index, given in enumerate(asked.input):
        where = f"input.{index}" if several else "input"
        prompts.append(prompt_of(loaded.run, given, where))
        if not prompts[-1].own:
            raise Refused(400, f"{where} is empty: there is nothing to place.", param=where)
    return prompts


def _groups(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Return the prompts in order, as many together as are read at once."""
    groups: list[list[Prompt]] = []
    longest = 0
    for prompt in prompts:
        longest = max(longest, len(prompt.ids))
        if not groups or longest * (len(groups[-1]) + 1) > TOKENS_AT_ONCE:
            groups.append([])
            longest = len(prompt.ids)
        groups[-1].append(prompt)
    return groups


@torch.inference_mode()
def mean_hidden(model: GPT, prompts: Sequence[Prompt]) -> list[list[float]]:
    """Return for each prompt the mean over its own tokens of the states after the final norm, scaled to length 1.

    The ids before the prompt are read, too, but do not count. Shorter prompts are padded at their end, which no
    earlier token sees.
    """
    longest = max(len(prompt.ids) for prompt in prompts)
    device = model.token_embedding.weight.device
    ids_BT = torch.tensor(
        [prompt.ids + prompt.ids[:1] * (longest - len(prompt.ids)) for prompt in prompts], device=device
    )
    counted_BT = torch.tensor(
        [[prompt.before <= place < len(prompt.ids) for place in range(longest)] for prompt in prompts],
        device=device,
    )
    with evaluating(model):
        hidden_BTC: Tensor = model.hidden(ids_BT).float()
    mean_BC = (hidden_BTC * counted_BT[..., None]).sum(1) / counted_BT.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean_BC, dim=-1).tolist()


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(
        torch.tensor(vector, dtype=torch.float32).numpy().astype("<f4").tobytes()
    ).decode()
