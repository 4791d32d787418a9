"""Ids in, ids out: one token after another, for one text or many, in the simplest form. The scheduler does the work."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

from glassgpt.errors import GenerationError
from glassgpt.generation.engines import Engine
from glassgpt.generation.requests import Request
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.scheduler import Scheduler
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating


def generate_batch(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    config: SamplingConfig,
    *,
    max_tokens: int | None,
    seed: int | None = None,
    exclude: Sequence[int] = (),
    stop_ids: Collection[int] = (),
    use_cache: bool = True,
    first_stream: int = 0,
    engine: Engine = "torch",
) -> Generator[list[tuple[int, int]], None, None]:
    """Yield, for each step, the next id of every unfinished prompt, as (its index, id).

    A prompt ends after `max_tokens` ids, or with one of `stop_ids`, which is yielded too. Prompt i draws from stream
    `first_stream` + i of the seed. The other arguments and errors are those of `generate_ids`.
    """
    if not prompts:
        raise GenerationError("There is no prompt to continue.")
    with evaluating(model):
        scheduler = Scheduler(model, engine=engine, use_cache=use_cache)
        for index, prompt in enumerate(prompts):
            scheduler.add(
                Request(
                    prompt,
                    config,
                    max_tokens=max_tokens,
                    seed=seed,
                    stream=first_stream + index,
                    ends=frozenset(stop_ids),
                    exclude=exclude,
                )
            )
        while scheduler.busy:
            step = []
            for event in scheduler.step():
                if event.error is not None:
                    raise event.error
                if event.id is not None:
                    step.append((event.number, event.id))
            if step:
                yield step


def generate_ids(
    model: GPT,
    prompt: list[int],
    config: SamplingConfig,
    *,
    count: int = 1,
    seed: int | None = None,
    exclude: Sequence[int] = (),
    use_cache: bool = True,
    engine: Engine = "torch",
) -> Generator[list[int], None, None]:
    """Yield, without end, the next id of each of `count` continuations of `prompt`; the caller stops.

    The same seed gives the same ids; none of `exclude` is ever among them. The model is in evaluation mode until the
    iterator is closed or deleted. Raises `GenerationError` when the prompt is empty, `ModelError` when the logits are
    not finite.
    """
    if count < 1:
        raise GenerationError(f"count is {count}: at least 1 continuation must be asked for.")
    for step in generate_batch(
        model,
        [prompt] * count,
        config,
        max_tokens=None,
        seed=seed,
        exclude=exclude,
        use_cache=use_cache,
        engine=engine,
    ):
        yield [id for _, id in step]
