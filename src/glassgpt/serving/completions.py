"""`/v1/completions`: a text is continued."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from glassgpt.serving.answers import REASONS, Completion, head, usage, with_usage
from glassgpt.serving.models import Loaded
from glassgpt.serving.prompts import prompt_of
from glassgpt.serving.schemas import CompletionAsked
from glassgpt.serving.streams import event
from glassgpt.serving.tokens import OldForm, join_old_forms
from glassgpt.serving.writing import Job, Part, Service, make_job, parts, whole_texts

MAX_TOKENS = 16
"""As OpenAI's."""


async def complete(service: Service, asked: CompletionAsked) -> Completion:
    """Return the whole answer."""
    async with service.models.using(asked.model) as loaded:
        job = await asyncio.to_thread(_job, service, asked, loaded)
        choices = Choices(asked, job)
        texts = await whole_texts(service, job)
        answer: Any = head("cmpl", loaded.name, loaded.fingerprint) | {"object": "text_completion"}
        answer["choices"] = [choices.choice(place, part) for place, part in enumerate(texts)]
        answer["usage"] = usage(job.prompt_tokens, sum(part.written for part in texts))
        return answer


async def stream_completion(service: Service, asked: CompletionAsked) -> AsyncGenerator[bytes, None]:
    """Yield the events of the answer."""
    async with service.models.using(asked.model) as loaded:
        job = await asyncio.to_thread(_job, service, asked, loaded)
        choices, written = Choices(asked, job), 0
        first: Any = head("cmpl", loaded.name, loaded.fingerprint) | {"object": "text_completion"}
        async with contextlib.aclosing(parts(service, job)) as coming:
            async for new in coming:
                for place, part in new.items():
                    written += part.written
                    chunk = first | {"choices": [choices.choice(place, part)]}
                    yield event(with_usage(chunk, wanted=asked.include_usage))
        if asked.include_usage:
            yield event(first | {"choices": [], "usage": usage(job.prompt_tokens, written)})


def _job(service: Service, asked: CompletionAsked, loaded: Loaded) -> Job:
    several = len(asked.prompt) > 1
    told = (bool(asked.echo) and asked.logprobs is not None) or asked.max_tokens == 0
    prompts = [
        prompt_of(loaded.run, given, f"prompt.{index}" if several else "prompt", told=told)
        for index, given in enumerate(asked.prompt)
    ]
    return make_job(
        asked,
        loaded,
        prompts,
        service.limits,
        max_tokens=MAX_TOKENS if asked.max_tokens is None else asked.max_tokens,
        likeliest=asked.logprobs,
        of_prompt=told,
        documents=loaded.run.knows_documents,
    )


class Choices:
    """The choices of an answer, as their parts come."""

    def __init__(self, asked: CompletionAsked, job: Job) -> None:
        self._asked, self._job = asked, job
        self._forms: dict[int, OldForm] = {}
        self._begun: set[int] = set()

    def choice(self, place: int, part: Part) -> dict[str, Any]:
        """Return a choice, or the next part of it."""
        text = part.text
        if self._asked.echo and place not in self._begun:
            text = self._job.prompt_of(place).text + text
        self._begun.add(place)
        return {
            "index": place,
            "text": text,
            "logprobs": None if self._asked.logprobs is None else self._logprobs(place, part),
            "finish_reason": REASONS[part.finished] if part.finished else None,
        }

    def _logprobs(self, place: int, part: Part) -> dict[str, list[Any]]:
        if place not in self._forms:
            echo, prompt = bool(self._asked.echo), self._job.prompt_of(place)
            self._forms[place] = OldForm(self._job.loaded.run.tokenizer, prompt, echo)
        form = self._forms[place]
        of_prompt = [form.of_prompt(part.prompt)] if part.prompt and self._asked.echo else []
        return join_old_forms([*of_prompt, form.of(part.tokens)])
