"""A run behind lm-eval's model interface: strings in, log-probabilities and strings out.

Imported only where lm-eval is installed. A model must answer three kinds of requests:

    loglikelihood           log p(continuation | context), and whether greedy decoding would write it
    loglikelihood_rolling   log p(text) from nothing, in windows that predict each token once
    generate_until          a continuation of a prompt, up to one of several strings

Every text is preceded by what preceded texts in training: `<|endoftext|>`, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from glassgpt.evaluation.scoring import likelihoods
from glassgpt.generation.engines import steady_for
from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.opening import Run

MOST_TOKENS = 256
"""Number of tokens to write where a task sets none, as in lm-eval's own models."""
PROMPTS_AT_ONCE = 32


class HarnessModel(LM):
    """An opened run behind lm-eval's interface."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._before = run.prompt_ids("")  # for an empty context: there must be a token to predict from
        self._asked = self._cut = 0

    def left_out(self) -> str | None:
        """Return a sentence with the number of questions whose beginning the model did not see, or None."""
        if not self._cut:
            return None
        return (
            f"{self._cut:,} of {self._asked:,} prompts are longer than the context of "
            f"{self._run.model.config.context_length:,} tokens: the beginning of each was left out."
        )

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return (log-probability in nats, whether greedy) of each (context, continuation)."""
        pairs = [self.encode_pair(*_two_texts(request)) for request in requests]
        self._count([len(context) + len(continuation) - 1 for context, continuation in pairs])
        return [(found.log_probability, found.greedy) for found in likelihoods(self._run.model, pairs)]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Return the log-probability in nats of each whole text of any length."""
        texts = [_arguments(request)[0] for request in requests]
        pairs = [(self._before, self._run.tokenizer.encode(text)) for text in texts]
        return [found.log_probability for found in likelihoods(self._run.model, pairs)]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return what the run writes after each prompt. A prompt that is too long loses its beginning."""
        texts = [""] * len(requests)
        alike: dict[GenerationConfig, list[int]] = {}
        for index, request in enumerate(requests):
            alike.setdefault(generation_config(_arguments(request)[1]), []).append(index)
        for config, indices in alike.items():
            engine = steady_for(len(indices) * config.max_tokens)
            for start in range(0, len(indices), PROMPTS_AT_ONCE):
                together = indices[start : start + PROMPTS_AT_ONCE]
                prompts = [_arguments(requests[index])[0] for index in together]
                self._count([len(self._run.prompt_ids(prompt)) for prompt in prompts])
                for index, text in zip(
                    together, self._run.complete(prompts, config, engine=engine), strict=True
                ):
                    texts[index] = text
        return texts

    def _count(self, lengths: Sequence[int]) -> None:
        """Count questions by the number of tokens that the model would have to see for each."""
        self._asked += len(lengths)
        self._cut += sum(length > self._run.model.config.context_length for length in lengths)

    def encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the ids of a context, with those that precede every text, and the ids of its continuation.

        A space at the end of the context moves to the continuation, because a word's token begins with its space. The
        continuation's ids are those that remain of the ids of both texts together after the context's.
        """
        kept = context.rstrip()
        whole = self._run.tokenizer.encode(context + continuation)
        ids = self._run.tokenizer.encode(kept)
        return self._run.before + ids or self._before, whole[len(ids) :]


def generation_config(settings: dict[str, Any]) -> GenerationConfig:
    """Convert a task's generation settings to ours. Without `do_sample` the likeliest token is taken."""
    until = settings.get("until") or []
    names = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
    most = next((settings[name] for name in names if settings.get(name)), MOST_TOKENS)
    sampled = settings.get("do_sample", settings.get("temperature", 0.0) > 0)
    return GenerationConfig(
        temperature=float(settings.get("temperature", 1.0)) if sampled else 0.0,
        top_k=int(settings.get("top_k", 0)),
        top_p=float(settings.get("top_p", 1.0)),
        max_tokens=int(most),
        stop=(until,) if isinstance(until, str) else tuple(until),
        seed=0,
    )


def _arguments(request: Instance) -> tuple[Any, ...]:
    return request.args


def _two_texts(request: Instance) -> tuple[str, str]:
    context, continuation = _arguments(request)
    return context, continuation
