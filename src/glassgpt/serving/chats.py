"""`/v1/chat/completions`: a run that was taught to answer says the next thing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from glassgpt.chat.templates import id_of
from glassgpt.commands import command
from glassgpt.serving.answers import REASONS, ChatCompletion, head, usage, with_usage
from glassgpt.serving.errors import Refused
from glassgpt.serving.models import Loaded
from glassgpt.serving.prompts import chat_prompt
from glassgpt.serving.schemas import ChatAsked
from glassgpt.serving.streams import event
from glassgpt.serving.tokens import chat_form
from glassgpt.serving.writing import Job, Part, Service, make_job, parts, whole_texts


async def chat(service: Service, asked: ChatAsked) -> ChatCompletion:
    """Return the whole answer."""
    async with service.models.using(asked.model) as loaded:
        job = await asyncio.to_thread(_job, service, asked, loaded)
        texts = await whole_texts(service, job)
        answer: Any = head("chatcmpl", loaded.name, loaded.fingerprint) | {"object": "chat.completion"}
        answer["choices"] = [
            {
                "index": place,
                "message": {"role": "assistant", "content": part.text, "refusal": None},
                "logprobs": _logprobs(asked, loaded, part),
                "finish_reason": REASONS[part.finished],
            }
            for place, part in enumerate(texts)
        ]
        answer["usage"] = usage(job.prompt_tokens, sum(part.written for part in texts))
        return answer


async def stream_chat(service: Service, asked: ChatAsked) -> AsyncGenerator[bytes, None]:
    """Yield the events of the answer: who speaks, what is said, why it ended, and the numbers of tokens if wanted."""
    async with service.models.using(asked.model) as loaded:
        job = await asyncio.to_thread(_job, service, asked, loaded)
        first: Any = head("chatcmpl", loaded.name, loaded.fingerprint) | {"object": "chat.completion.chunk"}
        begun, written = set[int](), 0

        def chunk(
            place: int, delta: dict[str, Any], logprobs: Any = None, reason: str | None = None
        ) -> bytes:
            choice = {"index": place, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            return event(with_usage(first | {"choices": [choice]}, wanted=asked.include_usage))

        async with contextlib.aclosing(parts(service, job)) as coming:
            async for new in coming:
                for place, part in new.items():
                    written += part.written
                    if place not in begun:
                        begun.add(place)
                        yield chunk(place, {"role": "assistant", "content": "", "refusal": None})
                    if part.text or (part.tokens and asked.logprobs):
                        yield chunk(place, {"content": part.text}, _logprobs(asked, loaded, part))
                    if part.finished:
                        yield chunk(place, {}, reason=REASONS[part.finished])
        if asked.include_usage:
            yield event(first | {"choices": [], "usage": usage(job.prompt_tokens, written)})


def _job(service: Service, asked: ChatAsked, loaded: Loaded) -> Job:
    run, template = loaded.run, loaded.template
    if template is None:
        teach = command("finetune", "sft", loaded.name, "DATA")
        raise Refused(
            400,
            f"{loaded.name} is a base model: it continues texts and was not taught to answer. Send a prompt to "
            f"/v1/completions, or teach it:  {teach}",
            param="model",
            code="no_chat_template",
        )
    prompt = chat_prompt(run, template, asked.messages)
    room = run.model.config.context_length - len(prompt.ids)
    return make_job(
        asked,
        loaded,
        [prompt],
        service.limits,
        max_tokens=min(room, service.limits.max_tokens) if asked.most is None else asked.most,
        likeliest=(asked.top_logprobs or 0) if asked.logprobs else None,
        ends=[id_of(run.tokenizer, template.stop)],
        documents=True,
    )


def _logprobs(asked: ChatAsked, loaded: Loaded, part: Part) -> dict[str, Any] | None:
    return chat_form(loaded.run.tokenizer, part.tokens) if asked.logprobs else None
