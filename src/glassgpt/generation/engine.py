"""Ids in, ids out: the loop that asks a model for one token after another.

The window. A model sees at most `context_length` tokens. When the text outgrows that, the oldest tokens
leave: the window is moved so that half of it is filled again, positions start anew at 0, and what is kept
is computed afresh. This is right for every kind of position (a learned one has no meaning past its table;
a rotary one would drift out of what training showed it), it never shows the model anything it was not
trained on, and it costs one prefill for each half window. Where the window stands depends only on how many
tokens there are, so generation with and without the cache sees the same tokens and gives the same ids.
The repetition penalty, too, looks at the tokens in the window alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import torch
from torch import Tensor

from glassgpt.errors import GenerationError, ModelError
from glassgpt.generation.sampling import SamplingConfig, distribution, draw
from glassgpt.model.cache import KVCache
from glassgpt.model.gpt import GPT


def window_start(length: int, context_length: int) -> int:
    """Return the index of the oldest token the model sees when there are `length` tokens.

    0 until the context is full; then it jumps so that half a context is left, and so on.
    """
    if length <= context_length:
        return 0
    step = max(1, context_length - context_length // 2)
    jumps = -(-(length - context_length) // step)
    return jumps * step


@torch.inference_mode()
def generate_ids(
    model: GPT,
    prompt: list[int],
    config: SamplingConfig,
    *,
    count: int = 1,
    seed: int | None = None,
    exclude: Sequence[int] = (),
    use_cache: bool = True,
) -> Generator[list[int], None, None]:
    """Yield, for ever, the next id of each of `count` continuations of `prompt`; the caller stops.

    The same seed gives the same ids; none of `exclude` is ever among them. The model is in evaluation mode
    until the iterator is closed or let go.
    Raises `GenerationError` when the prompt is empty, `ModelError` when the logits are not numbers.
    """
    if not prompt:
        raise GenerationError("The prompt has no tokens. Begin with <|endoftext|> to start from nothing.")
    if count < 1:
        raise GenerationError(f"count is {count}: at least 1 continuation must be asked for.")
    was_training = model.training
    model.eval()
    try:
        yield from _generate(model, prompt, config, count, _generator(seed), list(exclude), use_cache)
    finally:
        model.train(was_training)


def _generator(seed: int | None) -> torch.Generator:
    """A generator of its own, so that sampling never disturbs the random state of training."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _generate(
    model: GPT,
    prompt: list[int],
    config: SamplingConfig,
    count: int,
    generator: torch.Generator,
    exclude: list[int],
    use_cache: bool,
) -> Iterator[list[int]]:
    context = model.config.context_length
    ids_BT = torch.tensor([prompt] * count, device=next(model.parameters()).device)
    cache = model.new_cache(count) if use_cache else None
    length, start = len(prompt), 0  # ids_BT holds the tokens [start, length) of the text
    while True:
        if moved := window_start(length, context) - start:
            ids_BT, start = ids_BT[:, moved:], start + moved
            if cache:
                cache.clear()
        held = cache.length if cache else 0
        logits_BV = next_logits(model, ids_BT[:, held:], cache)
        _refuse_broken(logits_BV)
        logits_BV[:, exclude] = float("-inf")
        next_B1 = draw(distribution(logits_BV, ids_BT, config), generator)
        yield next_B1[:, 0].tolist()
        ids_BT = torch.cat((ids_BT, next_B1), dim=1)
        length += 1


def _refuse_broken(logits_BV: Tensor) -> None:
    if not logits_BV.isfinite().all():
        raise ModelError(
            "The model's logits are not finite numbers, so no token can be chosen. Its weights are broken, or too "
            "large for their dtype: open an earlier checkpoint, or compute in float32."
        )


def next_logits(model: GPT, ids_BT: Tensor, cache: KVCache | None) -> Tensor:
    """Return the logits (B, V) of the token after `ids_BT`, computing the head for the last place only."""
    return model.logits(model.hidden(ids_BT, cache)[:, -1])
