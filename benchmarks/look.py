"""Looking inside: what a trace and the other looks cost, beside the plain forward pass of the same text.

Two models: GPT-2's smallest size with a text of 256 tokens, whose trace has a mark, and `nano` with a full context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.measure import alternate, fresh, peak_memory
from benchmarks.report import Figure
from glassgpt.inspection.ablation import effects
from glassgpt.inspection.attribution import gradients, occlusion
from glassgpt.inspection.contributions import contributions
from glassgpt.inspection.heads import label_heads
from glassgpt.inspection.lens import logit_lens
from glassgpt.inspection.trace import trace_ids
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.presets import PRESETS

LARGE = replace(PRESETS["gpt2-small"], dropout=0.0)
TOKENS = 256
MOST_BYTES = 1.5e9


def run(quick: bool) -> list[Figure]:
    """Return the figures of both models."""
    large = PRESETS["nano"] if quick else LARGE
    name = "1M" if quick else "124M"
    seconds = looks(large, rounds=1 if quick else 5)
    memory = fresh(peak_of_a_trace, large).value
    ratio = seconds["trace"] / seconds["plain"]
    return [
        Figure(
            f"trace of {TOKENS} tokens, {name}; the plain pass",
            f"{seconds['trace'] * 1000:,.0f} ms",
            f"{seconds['plain'] * 1000:,.0f} ms",
            ratio,
            "at most 4x",
            None if quick else ratio <= 4,
        ),
        Figure(
            f"memory of a process that traces {TOKENS} tokens, {name}",
            f"{memory / 1e6:,.0f} MB",
            mark="under 1,500 MB",
            reached=None if quick else memory < MOST_BYTES,
        ),
        *others(name, seconds),
        *others("`nano`", looks(PRESETS["nano"], rounds=1 if quick else 7)),
    ]


def others(name: str, seconds: dict[str, float]) -> list[Figure]:
    """Return a figure of each look, beside the plain pass."""
    return [
        Figure(
            f"{look}, {TOKENS} tokens, {name}; the plain pass",
            f"{value * 1000:,.1f} ms",
            f"{seconds['plain'] * 1000:,.1f} ms",
            value / seconds["plain"],
        )
        for look, value in seconds.items()
        if look not in ("plain", "trace")
    ]


def looks(config: ModelConfig, rounds: int) -> dict[str, float]:
    """Return the seconds of each look at a random model and text, and of the plain pass."""
    model, ids = subject(config)
    row_1T = torch.tensor([ids])
    subjects: dict[str, Callable[[], object]] = {
        "plain": torch.inference_mode()(lambda: model(row_1T)),
        "trace": lambda: trace_ids(model, ids),
        "logit lens": lambda: logit_lens(model, ids),
        "contributions to a logit": lambda: contributions(model, ids, target=1),
        "gradients": lambda: gradients(model, ids),
        "labels of heads": lambda: label_heads(model, ids),
    }
    if config.n_layer < 8:  # these take a pass for each token or part
        subjects["occlusion"] = lambda: occlusion(model, ids)
        subjects["effects of all heads and layers"] = lambda: effects(model, ids)
    return alternate(subjects, rounds=rounds)


def subject(config: ModelConfig) -> tuple[GPT, list[int]]:
    """Return a random model and a random text."""
    torch.manual_seed(0)
    ids = torch.randint(config.vocab_size, (TOKENS,)).tolist()
    return GPT(config).eval().requires_grad_(False), ids


def peak_of_a_trace(config: ModelConfig) -> int:
    """Return the largest number of bytes that this process has held after a trace."""
    model, ids = subject(config)
    trace_ids(model, ids)
    return peak_memory()
