"""From requests to texts: what completions and chats share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

from glassgpt.generation.requests import Chosen, Request
from glassgpt.generation.text import TextEvent, never_written
from glassgpt.serving.errors import Refused
from glassgpt.serving.limits import Admission, Limits
from glassgpt.serving.metrics import Metrics
from glassgpt.serving.models import Loaded, Models
from glassgpt.serving.prompts import Prompt, refuse_unknown_ids
from glassgpt.serving.schemas import Writing


@dataclass(frozen=True)
class Service:
    """What every answer needs: the runs, the limits, and what is counted."""

    models: Models
    limits: Limits
    admission: Admission
    metrics: Metrics


@dataclass
class Part:
    """New text of one choice, or all of it so far."""

    text: str = ""
    tokens: list[Chosen] = field(default_factory=list)
    prompt: Sequence[Chosen] | None = None
    """The tokens of the prompt with their log-probabilities, where they were asked for and have come."""
    written: int = 0
    """The number of tokens, the one that ends the text included."""
    finished: str = ""

    def add(self, event: TextEvent) -> None:
        """Add what an event brings. Raises the error with which a text ended."""
        if event.error is not None:
            raise event.error
        self.text += event.text
        self.tokens += event.tokens
        self.prompt = self.prompt or event.prompt
        self.written += event.written
        self.finished = event.finished or self.finished


@dataclass(frozen=True)
class Job:
    """The requests of one client: `n` for each prompt, those of a prompt beside each other."""

    loaded: Loaded
    prompts: Sequence[Prompt]
    requests: Sequence[Request]
    stop: tuple[str, ...]

    @property
    def prompt_tokens(self) -> int:
        """The number of tokens of all prompts."""
        return sum(len(prompt.own) for prompt in self.prompts)

    def prompt_of(self, place: int) -> Prompt:
        """Return the prompt of a choice."""
        return self.prompts[place // (len(self.requests) // len(self.prompts))]


def make_job(
    asked: Writing,
    loaded: Loaded,
    prompts: Sequence[Prompt],
    limits: Limits,
    *,
    max_tokens: int,
    likeliest: int | None,
    of_prompt: bool = False,
    ends: Iterable[int] = (),
    documents: bool,
) -> Job:
    """Return the requests for some prompts. Raises `Refused` for more than the limits."""
    run, n = loaded.run, asked.n or 1
    if n > limits.choices:
        raise Refused(
            400, f"n is {n:,}; this server writes at most {limits.choices} texts for a prompt.", param="n"
        )
    if max_tokens > limits.max_tokens:
        raise Refused(
            400,
            f"max_tokens is {max_tokens:,}; this server writes at most {limits.max_tokens:,} tokens.",
            param="max_tokens",
        )
    refuse_unknown_ids(run, list(asked.logit_bias), "logit_bias")
    sampling, ends = asked.sampling(), frozenset({run.tokenizer.end_of_text, *ends})
    exclude = never_written(run.tokenizer, documents=documents, vocab_size=run.model.config.vocab_size)
    requests = [
        Request(
            ids=prompt.ids,
            sampling=sampling,
            max_tokens=max_tokens,
            seed=asked.seed_from_0,
            stream=number,
            ends=ends,
            exclude=exclude,
            bias=asked.logit_bias,
            likeliest=likeliest,
            of_prompt=of_prompt,
        )
        for prompt in prompts
        for number in range(n)
    ]
    return Job(loaded, prompts, requests, asked.stop)


async def parts(
    service: Service, job: Job, *, streamed: bool = True
) -> AsyncGenerator[dict[int, Part], None]:
    """Yield what is new of each choice, by its place, until all are finished."""
    metrics, began, is_first = service.metrics, time.monotonic(), streamed
    with service.admission.of(len(job.requests)):
        async with job.loaded.worker.writing(job.requests, job.stop, streamed=streamed) as inbox:
            with metrics.writing(job.loaded.name, len(job.requests), job.prompt_tokens):
                async for events in inbox:
                    if is_first:
                        metrics.first_token.labels(job.loaded.name).observe(time.monotonic() - began)
                        is_first = False
                    new: dict[int, Part] = {}
                    for place, event in events:
                        new.setdefault(place, Part()).add(event)
                    metrics.written.labels(job.loaded.name).inc(sum(part.written for part in new.values()))
                    yield new


async def whole_texts(service: Service, job: Job) -> list[Part]:
    """Return all of each choice."""
    texts = [Part() for _ in job.requests]
    async with contextlib.aclosing(parts(service, job, streamed=False)) as coming:
        async for new in coming:
            for place, part in new.items():
                join(texts[place], part)
    return texts


def join(whole: Part, new: Part) -> None:
    """Add what is new to what there is of a choice."""
    whole.text += new.text
    whole.tokens += new.tokens
    whole.prompt = whole.prompt or new.prompt
    whole.written += new.written
    whole.finished = new.finished or whole.finished
