"""Ids in, ids out: the loop that generates one token after another, for one text or many.

A batch holds texts of any lengths, each with its own place in the cache. What a row writes does not depend on the
other rows: it has its own random numbers. A finished row leaves the batch, so no work is done for it.

The window. A model sees at most `context_length` tokens. When a text grows longer, the oldest tokens are dropped: the
window moves so that it is half full, positions start again at 0, and the remaining tokens are computed again. This is
right for every kind of position (a learned one has no meaning past its table; a rotary one would leave the range seen
in training). The model never sees anything it was not trained on, and the cost is one prefill for each half window.
The place of the window depends only on the number of tokens, so generation with and without the cache sees the same
tokens and gives the same ids. The repetition penalty, too, uses only the tokens in the window.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Collection, Generator, Iterator, Sequence

import torch
from torch import Tensor

from glassgpt.device import threads_set
from glassgpt.errors import GenerationError, ModelError
from glassgpt.generation.decoder import ONE_THREAD_WORK, RECORD_AFTER, group_by_length
from glassgpt.generation.engines import Chooser, Decodes, Engine
from glassgpt.generation.sampling import SamplingConfig, distribution, draw
from glassgpt.machine.facts import free_memory
from glassgpt.machine.watch import ThreadWatch, alternatives
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import byte_size, inference_bytes, matmul_parameters

WORTH_ASKING = 64 * 2**20
"""Size in bytes from which a cache is compared with the free memory."""


def window_start(length: int, context_length: int) -> int:
    """Return the index of the oldest token the model sees when there are `length` tokens.

    0 until the context is full; then it jumps so that half a context is left, and so on.
    """
    if length <= context_length:
        return 0
    step = max(1, context_length - context_length // 2)
    jumps = -(-(length - context_length) // step)
    return jumps * step


def generate_batch(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    config: SamplingConfig,
    *,
    max_tokens: int,
    seed: int | None = None,
    exclude: Sequence[int] = (),
    stop_ids: Collection[int] = (),
    use_cache: bool = True,
    among: tuple[int, int] | None = None,
    engine: Engine = "torch",
) -> Generator[list[tuple[int, int]], None, None]:
    """Yield, for each step, the next id of every unfinished prompt, as (its index, id).

    A prompt ends after `max_tokens` ids, or with one of `stop_ids`, which is yielded too. With `among` = (first, all)
    the prompts draw the same numbers as those from number `first` on in a batch of `all`. The other arguments and
    errors are those of `generate_ids`.
    """
    with evaluating(model):
        batch = Batch(
            model,
            prompts,
            config,
            seed=seed,
            exclude=exclude,
            use_cache=use_cache,
            among=among,
            engine=engine,
        )
        for _ in range(max_tokens):
            if not batch.rows:
                return
            step = batch.step()
            yield step
            for row, id in step:
                if id in stop_ids:
                    batch.drop(row)


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
    with evaluating(model):
        batch = Batch(
            model, [prompt] * count, config, seed=seed, exclude=exclude, use_cache=use_cache, engine=engine
        )
        while True:
            yield [id for _, id in batch.step()]


@contextlib.contextmanager
def evaluating(model: GPT) -> Iterator[None]:
    """Keep the model in evaluation mode during the block, and restore its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class Batch:
    """Texts that are continued together: `step` adds one id to each, `drop` ends one. Training mode must be off."""

    def __init__(
        self,
        model: GPT,
        prompts: Sequence[Sequence[int]],
        config: SamplingConfig,
        *,
        seed: int | None = None,
        exclude: Sequence[int] = (),
        use_cache: bool = True,
        record_after: int | None = RECORD_AFTER,
        among: tuple[int, int] | None = None,
        adapt_threads: bool = False,
        engine: Engine = "torch",
    ) -> None:
        if not prompts or not all(prompts):
            raise GenerationError("The prompt has no tokens. Begin with <|endoftext|> to start from nothing.")
        self.rows = list(range(len(prompts)))
        """Indexes of the unfinished prompts; the place of each here is its row in the cache."""
        self._model = model
        self._config = config
        self._texts = [list(prompt) for prompt in prompts]
        self._starts = [-1] * len(prompts)  # where each row's cached window begins; -1: nothing is cached
        self._generator = _generator(seed)
        self._first, self._all = among or (0, len(prompts))
        self._never = _bias(model, exclude)
        self._work = matmul_parameters(model.config)
        self._watch = ThreadWatch(alternatives(torch.get_num_threads())) if adapt_threads else None
        if use_cache:
            _refuse_what_does_not_fit(model, len(prompts))
        self._chooser = Chooser(model, engine, record_after=record_after) if use_cache else None
        self._decoder: Decodes | None = None

    @torch.inference_mode()
    def step(self) -> list[tuple[int, int]]:
        """Return (index, next id) of every unfinished prompt. Raises `ModelError` when logits are not finite."""
        began, self._is_plain_step = time.perf_counter(), False
        large = len(self.rows) * self._work > ONE_THREAD_WORK
        watch = self._watch if large else None
        threads = watch.threads if watch else 0 if large else 1
        with threads_set(threads):
            logits_BV = self._logits()
        # Torch's threads wait for more work on their cores for a while, where those of the loops would have to run.
        with threads_set(1 if self._chooser and self._chooser.is_loops else threads):
            ids = self._choose(logits_BV)
        if watch and self._is_plain_step:  # reading a text takes longer and says nothing
            watch.note(time.perf_counter() - began)
        for row, id in zip(self.rows, ids, strict=True):
            self._texts[row].append(id)
        return sorted(zip(self.rows, ids, strict=True))

    def note(self) -> str:
        """Return a sentence about a change of threads since the last call, or ""."""
        if self._watch is None or self._watch.changed is None:
            return ""
        said, self._watch.changed = self._watch.changed, None
        return said

    def drop(self, row: int) -> None:
        """End a prompt: the last row of the cache takes its place, and the batch shrinks by one."""
        place, last = self.rows.index(row), len(self.rows) - 1
        self.rows[place] = self.rows[last]
        self.rows.pop()
        if self._decoder and place != last:
            with torch.inference_mode():
                self._decoder.move(last, place, len(self._window(self.rows[place])))

    def _window(self, row: int) -> list[int]:
        """Return the tokens of a row that the model sees."""
        text = self._texts[row]
        return text[window_start(len(text), self._model.config.context_length) :]

    def _logits(self) -> Tensor:
        if self._chooser is None:
            return _from_scratch(self._model, [self._window(row) for row in self.rows])
        self._decoder, is_new = self._chooser.decoder(len(self.rows))
        if is_new:
            self._starts = [-1] * len(self._starts)
        context = self._model.config.context_length
        starts = [window_start(len(self._texts[row]), context) for row in self.rows]
        moved = [place for place, row in enumerate(self.rows) if starts[place] != self._starts[row]]
        for row, start in zip(self.rows, starts, strict=True):
            self._starts[row] = start
        if len(moved) == len(self.rows):
            return self._decoder.fill(moved, [self._window(row) for row in self.rows])
        # Rows whose window has moved take the step too, at a place they have, and are then filled again.
        ids = [self._texts[row][-1] for row in self.rows]
        places = [len(self._texts[row]) - start - 1 for row, start in zip(self.rows, starts, strict=True)]
        self._is_plain_step = not moved
        logits_BV = self._decoder.step(ids, places)
        if moved:
            logits_BV[moved] = self._decoder.fill(moved, [self._window(self.rows[place]) for place in moved])
        return logits_BV

    def _choose(self, logits_BV: Tensor) -> list[int]:
        if self._never is not None:
            logits_BV = logits_BV + self._never
        if self._config.temperature == 0 and self._config.repetition_penalty == 1.0:
            largest_B, ids_B = logits_BV.max(-1)  # the maximum is NaN where any logit is
            _refuse_broken(all(map(math.isfinite, largest_B.tolist())))
            return ids_B.tolist()
        # A number for every prompt, finished ones included, so that no row's draws depend on the others.
        uniforms_N1 = torch.rand(self._all, 1, dtype=torch.float64, generator=self._generator)
        probabilities_BV = distribution(logits_BV, self._seen(logits_BV.device), self._config)
        ids = draw(probabilities_BV, uniforms_N1[[self._first + row for row in self.rows]])[:, 0].tolist()
        _refuse_broken(max(ids) < logits_BV.shape[1])
        return ids

    def _seen(self, device: torch.device) -> Tensor:
        """Return the ids in each row's window, (B, T); shorter rows repeat some of theirs."""
        if self._config.repetition_penalty == 1.0:
            return torch.empty(0, dtype=torch.int64, device=device)  # not used
        windows = [self._window(row) for row in self.rows]
        longest = max(map(len, windows))
        return torch.tensor([w + w[:1] * (longest - len(w)) for w in windows], device=device)


def _from_scratch(model: GPT, windows: list[list[int]]) -> Tensor:
    """Return the logits (B, V) after each window, computed without a cache; windows of the same length together."""
    logits: dict[int, Tensor] = {}
    for alike in group_by_length(windows):
        ids_BT = torch.tensor([windows[index] for index in alike], device=model.token_embedding.weight.device)
        logits.update(zip(alike, model.logits(model.hidden(ids_BT)[:, -1]), strict=True))
    return torch.stack([logits[index] for index in range(len(windows))])


def _bias(model: GPT, exclude: Sequence[int]) -> Tensor | None:
    """Return a bias (V,) that makes the logits of excluded ids -inf, or None where there are none."""
    if not exclude:
        return None
    bias_V = torch.zeros(model.config.vocab_size, device=model.token_embedding.weight.device)
    bias_V[list(exclude)] = float("-inf")
    return bias_V


def _refuse_what_does_not_fit(model: GPT, rows: int) -> None:
    """Raise `GenerationError` when the keys and values of `rows` texts need more memory than is free."""
    weight = model.token_embedding.weight
    need = inference_bytes(model.config, batch_size=rows, bytes_per_number=weight.element_size()).cache
    if need < WORTH_ASKING or need <= (free := free_memory(weight.device)):
        return
    raise GenerationError(
        f"The cache of {rows:,} texts of {model.config.context_length:,} tokens needs {byte_size(need)} of memory, "
        f"and {byte_size(free)} are free. Write fewer texts at once (--count), or do without a cache (--no-cache)."
    )


def _generator(seed: int | None) -> torch.Generator:
    """Return a separate generator, so that sampling never disturbs the random state of training."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _refuse_broken(fine: bool) -> None:
    if not fine:
        raise ModelError(
            "The model's logits are not finite numbers, so no token can be chosen. Its weights are broken, or too "
            "large for their dtype: open an earlier checkpoint, or compute in float32."
        )
