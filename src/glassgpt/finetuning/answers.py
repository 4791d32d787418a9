"""A model's answers to held-out prompts while it is fine-tuned."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from glassgpt.chat.messages import Message
from glassgpt.chat.templates import id_of
from glassgpt.finetuning.config import SamplesConfig
from glassgpt.finetuning.task import Sample, Start
from glassgpt.generation.engines import steady_for
from glassgpt.generation.text import GenerationConfig, stream_after


def answers(start: Start, prompts: Sequence[Sequence[Message]], config: SamplesConfig) -> list[Sample]:
    """Return the answers of the model in training to some prompts, all generated in one batch."""
    ids = [_prompt_ids(start, prompt) for prompt in prompts]
    assert start.template is not None
    settings = GenerationConfig(
        temperature=config.temperature, max_tokens=config.max_tokens, seed=config.seed
    )
    stop = id_of(start.tokenizer, start.template.stop)
    engine = steady_for(len(prompts) * config.max_tokens)
    written, ended = [""] * len(prompts), [False] * len(prompts)
    for event in stream_after(start.model, start.tokenizer, ids, settings, ends=[stop], engine=engine):
        written[event.index] += event.text
        ended[event.index] |= event.finished == "end"
    return [
        Sample(prompt[-1].content, text, end)
        for prompt, text, end in zip(prompts, written, ended, strict=True)
    ]


def answer_held_out(
    start: Start, config: SamplesConfig, prompts: Sequence[Sequence[Message]]
) -> list[Sample]:
    """Return the answers to the first held-out prompts that leave room for an answer."""
    fitting = (prompt for prompt in prompts if len(_prompt_ids(start, prompt)) < start.context_length)
    chosen = list(islice(fitting, config.count))
    return answers(start, chosen, config) if chosen else []


def _prompt_ids(start: Start, prompt: Sequence[Message]) -> list[int]:
    assert start.template is not None
    return start.tokenizer.encode_pieces(start.template.pieces(prompt, answer=True))
