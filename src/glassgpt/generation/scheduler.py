"""Requests of one model, written together: they join and leave between any two tokens.

`step` does four things. It lets waiting requests begin while there is memory for their caches, in the order in which
they came. It reads a piece of the prompts that have begun. It adds one token to every text whose prompt is read, all in
one step of the model. And it chooses the next id of each.

    add -> waiting -> reading (in pieces) -> writing -> finished
                        ^______________________|           the window has moved (see `window`)

What a request writes does not depend on the others: it has its own random numbers, its own place in the cache, and
its prompt is cut into the same pieces. Rounding alone could differ, because a product of many rows may add in another
order.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from glassgpt.device import threads_set
from glassgpt.errors import GenerationError, ModelError
from glassgpt.generation.choice import LoopChoice, next_ids
from glassgpt.generation.decoder import ONE_THREAD_WORK
from glassgpt.generation.engines import Chooser, Decodes, Engine, ReadsAtOnce, make_rows
from glassgpt.generation.likelihood import chosen_among
from glassgpt.generation.pace import Pace, known_pace
from glassgpt.generation.prefixes import Prefixes
from glassgpt.generation.reading import SHORT, Reading, read_at_once
from glassgpt.generation.requests import Chosen, Request, Written
from glassgpt.generation.texts import Text
from glassgpt.generation.window import window_start
from glassgpt.machine.facts import free_memory
from glassgpt.machine.watch import ThreadWatch, alternatives
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import byte_size, inference_bytes, matmul_parameters

LOOK_AFTER = 32
"""Steps after which a kept measurement of this machine is looked up, which takes longer than a token."""
READ_AT_ONCE = 512
"""Tokens of prompts that are read in a step while others write."""
WORTH_ASKING = 64 * 2**20
"""Size in bytes from which caches are compared with the free memory."""
MOST_BIASES = 64
BROKEN = (
    "The model's logits are not finite numbers, so no token can be chosen. Its weights are broken, or too large for "
    "their dtype: open an earlier checkpoint, or compute in float32."
)
FREE_SHARE = 0.5
"""Share of the free memory that caches may take together: one that grows is copied, so it needs its size twice."""


class Scheduler:
    """Writes any number of requests with one model, which must not be in training mode. Not thread-safe.

    `memory` is the number of bytes that their caches may take together (default: half of what is free), and
    `prefix_memory` that of the caches kept for later requests that begin alike. The number of threads may
    follow what other programs leave: with `adapt_threads` always, by default (None) with the loops, whose numbers do
    not depend on it.
    """

    def __init__(
        self,
        model: GPT,
        *,
        engine: Engine = "torch",
        use_cache: bool = True,
        memory: int | None = None,
        prefix_memory: int = 0,
        adapt_threads: bool | None = None,
    ) -> None:
        self._model = model
        self._context = model.config.context_length
        self._use_cache = use_cache
        self._memory = memory
        self._chooser = Chooser(model, engine) if use_cache else None
        self._loop_choice: LoopChoice | None = None
        """For the texts that are being written, made when others join or leave."""
        self._decoder: Decodes | None = None
        self._prefixes = Prefixes(prefix_memory, self._context) if prefix_memory and use_cache else None
        self._count = 0
        self._waiting: deque[Text] = deque()
        self._reading: deque[tuple[Reading, list[Text]]] = deque()
        self._short: deque[Text] = deque()
        """Texts that the loops read whole, together with others of any length."""
        self._writing: list[Text] = []
        """The texts that get a token in each step; the place of each here is its row in the cache."""
        self._biases: dict[tuple[object, ...], Tensor] = {}
        self._work = matmul_parameters(model.config)
        self._steps = 0
        self._pace: Pace | None = None
        self._watch = ThreadWatch(alternatives(torch.get_num_threads()))
        self._adapt_threads = adapt_threads
        bytes_per_number = model.token_embedding.weight.element_size()
        self._token_bytes = inference_bytes(model.config, length=1, bytes_per_number=bytes_per_number).cache

    def add(self, request: Request) -> int:
        """Take a request; return its number. Numbers count from 0, and the events of `step` bear them.

        Raises `GenerationError` for a request that cannot be written, however long it waits, and `ModelError` for ids
        that the model does not know.
        """
        self._refuse_what_cannot_be_written(request)
        text = Text(self._count, request, self._bias_of(request), self._context)
        self._count += 1
        self._waiting.append(text)
        return text.number

    def cancel(self, number: int) -> None:
        """End a request at once; no event follows. A number that is not there is ignored: it may just have ended."""
        for place, text in enumerate(self._writing):
            if text.number == number:
                self._finish([place])
                return
        self._waiting = deque(text for text in self._waiting if text.number != number)
        self._short = deque(text for text in self._short if text.number != number)
        for reading, texts in list(self._reading):
            kept = [index for index, text in enumerate(texts) if text.number != number]
            if len(kept) < len(texts):
                reading.sources = [reading.sources[index] for index in kept]
                texts[:] = [texts[index] for index in kept]
                if not texts:
                    self._reading.remove((reading, texts))

    @property
    def waiting(self) -> int:
        """The number of requests that have not begun."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do for `step`."""
        return bool(self._writing or self._waiting or self._reading or self._short)

    @property
    def active(self) -> int:
        """The number of requests that have begun."""
        return len(self._writing) + len(list(self._all_reading()))

    def note(self) -> str:
        """Return a sentence about a change of threads since the last call, or ""."""
        if self._watch.changed is None:
            return ""
        said, self._watch.changed = self._watch.changed, None
        return said

    def step(self) -> list[Written]:
        """Add a token to each text that is being written; return what happened, in the order of the numbers."""
        if self._waiting:
            self._admit()
        if self._chooser is None:
            return _in_order(self._step_without_cache() if self._writing else [])
        self._let_moved_windows_go()
        may_adapt = self._chooser.is_loops if self._adapt_threads is None else self._adapt_threads
        threads = self._usual_threads(may_adapt)
        watch = self._watch if threads > 1 and may_adapt else None
        threads = watch.threads if watch else threads
        began = time.perf_counter()
        events: list[Written] = []
        is_plain = not self._reading and not self._short
        logits_BV = self._write(threads) if self._writing else None
        if self._short:
            logits_BV = self._read_short(logits_BV)
        if self._reading:
            logits_BV = self._read(logits_BV, events)
        if logits_BV is not None:
            events += self._choose(logits_BV, threads)
        if watch and is_plain:  # reading a text takes longer and says nothing
            watch.note(time.perf_counter() - began)
        return _in_order(events)

    def _usual_threads(self, may_adapt: bool) -> int:
        """Return the number of threads for the next step, as measured for this machine where that is known."""
        self._steps += 1
        if self._steps == LOOK_AFTER:
            self._pace = known_pace(self._model)
            if self._pace is not None and self._pace.engine == "torch" and self._chooser is not None:
                self._chooser.stay_with_torch()
        if self._pace is not None and may_adapt:
            return self._pace.threads(len(self._writing))
        return torch.get_num_threads() if len(self._writing) * self._work > ONE_THREAD_WORK else 1

    def _admit(self) -> None:
        """Let waiting requests begin while there is memory."""
        begun: list[Text] = []
        active = self.active
        longest = max((text.need for text in [*self._writing, *self._all_reading()]), default=0)
        limit = None
        while self._waiting:
            text = self._waiting[0]
            longest = max(longest, text.need)
            need = (active + len(begun) + 1) * longest * self._token_bytes
            if self._use_cache and active + len(begun) and need > WORTH_ASKING:
                if limit is None:
                    limit = self._limit()
                if need > limit:
                    break
            begun.append(self._waiting.popleft())
        if self._use_cache:
            self._begin_to_read(begun)
        else:
            self._writing += begun

    def _limit(self) -> int:
        """Return how many bytes the caches may take together."""
        if self._memory is not None:
            return self._memory
        held = self._decoder.rows * self._context * self._token_bytes if self._decoder else 0
        return int(held + FREE_SHARE * free_memory(self._model.token_embedding.weight.device))

    def _begin_to_read(self, texts: list[Text], *, ahead: bool = False) -> None:
        """Group texts by what can be read together; those that were being written go `ahead` of prompts."""
        alike: dict[int, list[Text]] = {}
        readings: list[tuple[Reading, list[Text]]] = []
        by_loops = self._loops_read(len(texts)) if texts else False
        short: list[Text] = []
        for text in texts:
            # Where the log-probabilities of a prompt are wanted, its last id is only predicted and needs no place.
            text.start = 0 if text.tells else window_start(len(text.ids), self._context)
            window = text.ids[text.start : text.start + self._context]
            known, length = None, 0
            is_long = not by_loops or len(window) > SHORT
            if is_long and self._prefixes is not None and not text.start and not text.tells:
                known, length = self._prefixes.longest(window)
            if by_loops and not text.tells and len(window) - length <= SHORT:
                short.append(text)
                continue
            if known is not None or text.tells:
                likeliest = (text.likeliest or 0) if text.tells else None
                reading = Reading(self._model, [window], known=known, length=length, likeliest=likeliest)
                readings.append((reading, [text]))
            else:
                alike.setdefault(len(window), []).append(text)
        for length, together in alike.items():
            most = max(1, READ_AT_ONCE // length) if self._writing else len(together)
            for first in range(0, len(together), most):
                some = together[first : first + most]
                reading = Reading(self._model, [text.ids[text.start :] for text in some])
                readings.append((reading, some))
        if ahead:
            self._reading.extendleft(reversed(readings))
            self._short.extendleft(reversed(short))
        else:
            self._reading.extend(readings)
            self._short.extend(short)

    def _loops_read(self, count: int) -> bool:
        """Return whether the loops write now, or will as soon as this many texts are read."""
        assert self._chooser is not None
        if not self._writing and self._chooser.may_be_loops:
            self._decoder, _ = self._chooser.decoder(count)
        return self._chooser.is_loops

    def _all_reading(self) -> Iterator[Text]:
        yield from self._short
        for _, texts in self._reading:
            yield from texts

    def _let_moved_windows_go(self) -> None:
        """Texts whose window has moved are read again."""
        context = self._context
        moved = [place for place, text in enumerate(self._writing) if len(text.ids) - text.start > context]
        if not moved:
            return
        texts = [self._writing[place] for place in moved]
        self._leave(moved)
        self._begin_to_read(texts, ahead=True)

    def _write(self, threads: int) -> Tensor | None:
        """Return the logits (B, V) after the newest id of each text; None where they all have to be read again."""
        assert self._chooser is not None
        decoder, former = self._chooser.decoder(len(self._writing))
        is_new = decoder is not self._decoder
        self._decoder = decoder
        if is_new and former is None:
            texts, self._writing, self._loop_choice = self._writing, [], None
            self._begin_to_read(texts, ahead=True)
            return None
        if is_new and former is not None:
            for row, text in enumerate(self._writing):
                decoder.put([row], former.take(row, len(text.ids) - text.start - 1), [0])
        ids = [text.ids[-1] for text in self._writing]
        places = [len(text.ids) - text.start - 1 for text in self._writing]
        return decoder.step(ids, places, threads)

    def _read(self, logits_BV: Tensor | None, events: list[Written]) -> Tensor | None:
        """Read pieces of prompts; texts that are read join, and their logits (B, V) are added to the others'."""
        assert self._chooser is not None
        others, tokens, found = bool(self._writing), 0, []
        while self._reading and not (others and tokens >= READ_AT_ONCE):
            reading, texts = self._reading[0]
            tokens += reading.next_tokens
            after_NV = reading.read()
            if after_NV is None:
                continue
            self._reading.popleft()
            for text in texts:
                if reading.chosen is not None:
                    events.append(self._told(text, reading.chosen, after_NV))
            kept = [index for index, text in enumerate(texts) if len(text.ids) < text.most]
            if kept and len(texts[0].ids) - texts[0].start > self._context:
                self._begin_to_read(texts)  # a prompt that was told fills more than a window
            elif kept:
                found.append(after_NV[[reading.sources[index] for index in kept]])
                self._join(
                    reading, [texts[index] for index in kept], [reading.sources[index] for index in kept]
                )
        if not found:
            return logits_BV
        return torch.cat(found if logits_BV is None else [logits_BV, *found])

    def _read_short(self, logits_BV: Tensor | None) -> Tensor | None:
        """Let the loops read short texts, which join; their logits are added to the others' (B, V)."""
        if not self._loops_read(len(self._short)):  # the model is looked into since then, or is another one
            texts = list(self._short)
            self._short.clear()
            self._begin_to_read(texts, ahead=True)
            return logits_BV
        texts, tokens, first = [], 0, len(self._writing)
        while self._short and not (first and tokens >= READ_AT_ONCE):
            texts.append(self._short.popleft())
            tokens += len(texts[-1].window)
        assert self._decoder is not None
        make_rows(self._decoder, first + len(texts))
        threads = torch.get_num_threads() if tokens * self._work > ONE_THREAD_WORK else 1
        texts, read_NV = read_at_once(
            cast("ReadsAtOnce", self._decoder), texts, first, self._prefixes, threads
        )
        self._writing += texts
        self._loop_choice = None
        return read_NV if logits_BV is None else torch.cat([logits_BV, read_NV])

    def _told(self, text: Text, chosen: tuple[Chosen, ...], after_1V: Tensor) -> Written:
        """Return the event that brings the log-probabilities of a prompt; `after_1V` predicts the id after a window."""
        text.tells = False
        if len(text.ids) > self._context:
            chosen += tuple(chosen_among(after_1V, text.ids[-1:], text.likeliest or 0))
        if any(math.isnan(one.log_probability or 0.0) for one in chosen):
            text.most = 0  # nothing is written after it
            return Written(text.number, None, "error", error=ModelError(BROKEN))
        return Written(text.number, None, "length" if text.request.max_tokens == 0 else "", prompt=chosen)

    def _join(self, reading: Reading, texts: list[Text], sources: list[int]) -> None:
        """Give each text a row of the cache."""
        assert self._chooser is not None
        first = len(self._writing)
        if self._decoder is None or not first:
            more = sum(len(others) for _, others in self._reading)  # those that follow need rows as well
            self._decoder, _ = self._chooser.decoder(first + len(texts) + more)
        else:
            make_rows(self._decoder, first + len(texts))
        self._decoder.put(list(range(first, first + len(texts))), reading.cache, sources)
        self._writing += texts
        self._loop_choice = None
        if self._prefixes is not None:
            for text, source in zip(texts, sources, strict=True):
                if not text.start:
                    self._prefixes.keep(text.ids, partial(reading.of, source))

    @torch.inference_mode()
    def _step_without_cache(self) -> list[Written]:
        """Add a token to each text, its whole window computed again."""
        for text in self._writing:
            text.start = window_start(len(text.ids), self._context)
        windows = [text.ids[text.start :] for text in self._writing]
        alike: dict[int, list[int]] = {}
        for place, window in enumerate(windows):
            alike.setdefault(len(window), []).append(place)
        device = self._model.token_embedding.weight.device
        logits: dict[int, Tensor] = {}
        for places in alike.values():
            ids_BT = torch.tensor([windows[place] for place in places], device=device)
            logits.update(zip(places, self._model.logits(self._model.hidden(ids_BT)[:, -1]), strict=True))
        return self._choose(torch.stack([logits[place] for place in range(len(windows))]), 1)

    def _choose(self, logits_BV: Tensor, threads: int) -> list[Written]:
        """Choose the next id of each text from its logits; those that are over leave."""
        if self._chooser is None or not self._chooser.is_loops:
            with threads_set(threads):
                ids = next_ids(logits_BV, self._writing)
        else:
            if self._loop_choice is None:
                self._loop_choice = LoopChoice(self._writing, logits_BV.shape[1])
            ids = self._loop_choice.next_ids(logits_BV)
        chosen = self._chosen(logits_BV, ids)
        events: list[Written] = []
        over: list[int] = []
        for place, (text, id) in enumerate(zip(self._writing, ids, strict=True)):
            if id < 0:
                events.append(Written(text.number, None, "error", error=ModelError(BROKEN)))
                over.append(place)
                continue
            text.ids.append(id)
            finished = "end" if id in text.ends else "length" if len(text.ids) >= text.most else ""
            events.append(Written(text.number, id, finished, chosen.get(place) if chosen else None))
            if finished:
                over.append(place)
        if over:
            self._finish(over)
        return events

    def _chosen(self, logits_BV: Tensor, ids: list[int]) -> dict[int, Chosen]:
        """Return the log-probabilities of the ids at the places where they were asked for."""
        places = [
            place
            for place, text in enumerate(self._writing)
            if text.likeliest is not None and ids[place] >= 0
        ]
        if not places:
            return {}
        counts = [self._writing[place].likeliest or 0 for place in places]
        # Torch's threads wait for more work on their cores for a while, where those of the loops would have to run.
        with threads_set(1):
            found = chosen_among(logits_BV[places], [ids[place] for place in places], max(counts))
        return {
            place: replace(one, likeliest=one.likeliest[:count])
            for place, one, count in zip(places, found, counts, strict=True)
        }

    def _finish(self, places: list[int]) -> None:
        """End texts; what was computed for them is kept for texts that begin like them."""
        if self._prefixes is not None and self._decoder is not None:
            for place in places:
                text = self._writing[place]
                cached = text.ids[:-1]  # the newest id was not read
                if not text.start:
                    self._prefixes.keep(cached, partial(self._decoder.take, place, len(cached)))
        self._leave(places)

    def _leave(self, places: list[int]) -> None:
        """Take texts out of the rows; the last row takes the place of each."""
        self._loop_choice = None
        for place in sorted(places, reverse=True):
            last = len(self._writing) - 1
            self._writing[place], self._writing[last] = self._writing[last], self._writing[place]
            self._writing.pop()
            if self._decoder is not None and place != last:
                moved = self._writing[place]
                self._decoder.move(last, place, len(moved.ids) - moved.start)

    def _bias_of(self, request: Request) -> Tensor | None:
        """Return what is added to a request's logits, (V,), or None; excluded ids get -inf."""
        if not request.exclude and not request.bias:
            return None
        key = (*request.exclude, None, *sorted(request.bias.items()))
        if key not in self._biases:
            if len(self._biases) >= MOST_BIASES:
                self._biases.clear()
            bias_V = torch.zeros(self._model.config.vocab_size)
            for id, value in request.bias.items():
                bias_V[id] = value
            bias_V[list(request.exclude)] = float("-inf")
            self._biases[key] = bias_V.to(self._model.token_embedding.weight.device)
        return self._biases[key]

    def _refuse_what_cannot_be_written(self, request: Request) -> None:
        vocabulary = self._model.config.vocab_size
        for id in (*request.ids, *request.bias, *request.exclude):
            if not 0 <= id < vocabulary:
                raise ModelError(
                    f"The token id {id} is outside the model's vocabulary of {vocabulary}. Encode the text with the "
                    "tokenizer that this model was trained with."
                )
        if request.of_prompt and (len(request.ids) > self._context + 1 or not self._use_cache):
            raise GenerationError(
                f"The log-probabilities of a prompt need a cache, and all of its {len(request.ids):,} tokens but the "
                f"last in the model's context, which has {self._context:,}."
            )
        if not self._use_cache:
            return
        tokens = self._context if request.max_tokens is None else len(request.ids) + request.max_tokens
        need = min(tokens, self._context) * self._token_bytes
        if need < WORTH_ASKING:
            return
        free = self._memory or free_memory(self._model.token_embedding.weight.device)
        if need > free:
            raise GenerationError(
                f"The cache of a text of {min(tokens, self._context):,} tokens needs {byte_size(need)} of memory, and "
                f"{byte_size(free)} are free. Write fewer tokens (--max-tokens), or do without a cache (--no-cache)."
            )


def _in_order(events: list[Written]) -> list[Written]:
    """Sort events by the numbers of their requests; those of one request stay in their order."""
    if len(events) > 1:
        events.sort(key=lambda event: event.number)
    return events
