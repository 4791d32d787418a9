"""Fine-tuning: memory of LoRA and of all weights, room wasted by packing, answers written in a batch.

The model has GPT-2's smallest shape with 124 million random weights: the cost of a step does not depend on their
values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.measure import alternate, fresh, peak_memory
from benchmarks.report import Figure
from benchmarks.texts import SHARED
from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import add_lora
from glassgpt.chat.templates import make_template
from glassgpt.finetuning.examples import Fitting
from glassgpt.finetuning.losses import answer_loss
from glassgpt.finetuning.packing import pack
from glassgpt.finetuning.records import read_conversations
from glassgpt.generation.engine import generate_batch, generate_ids
from glassgpt.generation.engines import Engine
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.presets import PRESETS
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.train import train_tokenizer
from glassgpt.training.config import TrainingConfig
from glassgpt.training.optimizers import make_optimizer

BIG = replace(PRESETS["gpt2-small"], dropout=0.0)
ROWS, TOKENS = 2, 256


def run(quick: bool) -> list[Figure]:
    """Return the figures of memory and time, packing, and batched answers."""
    config = replace(BIG, n_layer=2, n_embd=192, n_head=3) if quick else BIG
    return [*lora(config, quick), packing(), *answers(quick)]


def lora(config: ModelConfig, quick: bool) -> list[Figure]:
    """Measure steps of supervised fine-tuning of all weights and with LoRA of rank 8, each in a fresh process."""
    steps = 1 if quick else 3
    whole, adapted = (fresh(_steps, config, rank, steps) for rank in (0, 8))
    share = adapted.value["bytes"] / whole.value["bytes"]
    name = "the same model, small" if quick else "124M"
    return [
        Figure(
            f"supervised fine-tuning, {name}, {ROWS * TOKENS} tokens: memory with LoRA; with all weights",
            f"{adapted.value['bytes'] / 1e6:,.0f} MB",
            f"{whole.value['bytes'] / 1e6:,.0f} MB",
            1 / share,
            "at most 60%",
            None if quick else share <= 0.6,
        ),
        Figure(
            "the same: time of an update",
            f"{adapted.value['seconds']:.2f} s",
            f"{whole.value['seconds']:.2f} s",
            whole.value["seconds"] / adapted.value["seconds"],
        ),
    ]


def _steps(config: ModelConfig, rank: int, steps: int) -> dict[str, float]:
    """Make updates; return the bytes that model and updates add to the process's peak, and seconds per update."""
    before = peak_memory()
    torch.manual_seed(0)
    model = GPT(config).train()
    if rank:
        add_lora(model, LoRAConfig(rank=rank))
    optimizer = make_optimizer(model, TrainingConfig())
    ids = torch.randint(config.vocab_size, (ROWS, TOKENS + 1))
    targets = torch.where(torch.arange(TOKENS) % 2 == 0, ids[:, 1:], -100)
    segments = torch.zeros_like(targets)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        answer_loss(model, ids[:, :-1], segments, targets).backward()
        optimizer.step()

    seconds = alternate({"update": update}, rounds=steps)["update"]
    return {"bytes": peak_memory() - before, "seconds": seconds}


def packing() -> Figure:
    """Pack the instructions with a vocabulary of 1,024 ids into rows of 256 tokens."""
    path = SHARED / "instructions.json"
    if not path.is_file():
        return Figure("packing of instructions: the records are not on this machine", "-")
    conversations = read_conversations([path])
    texts = [message.content for each in conversations for message in each.messages]
    wasted = {}
    for name, tokenizer in (
        ("1,024 ids", train_tokenizer(texts, TokenizerConfig(vocab_size=1024))),
        ("GPT-2's vocabulary", load_tokenizer("gpt2")),
    ):
        fitting = Fitting(tokenizer, make_template("alpaca", tokenizer), 256)
        rows = pack(fitting.examples((each.messages, each.source) for each in conversations), 256)
        wasted[name] = rows.wasted
    worst = max(wasted.values())
    shown = ", ".join(f"{share:.2%} with {name}" for name, share in wasted.items())
    return Figure(
        "unused tokens in packed rows of 256, 1,100 instructions",
        shown,
        "",
        None,
        "under 5%",
        worst < 0.05,
    )


def answers(quick: bool) -> list[Figure]:
    """Compare 32 answers written as in reinforcement: by the loops and by torch, in a batch and one after another."""
    torch.manual_seed(0)
    model, tokens = GPT(PRESETS["nano"]).eval(), 16 if quick else 64
    prompts = [[index + 5, 7, 9] for index in range(32)]
    drawn = SamplingConfig(temperature=1.0)

    def together(engine: Engine) -> Any:
        return list(generate_batch(model, prompts, drawn, max_tokens=tokens, seed=1, engine=engine))

    def apart() -> Any:
        return [
            list(itertools.islice(generate_ids(model, prompt, drawn, seed=1, engine="steady"), tokens))
            for prompt in prompts
        ]

    subjects: dict[str, Callable[[], object]] = {
        "together": lambda: together("steady"),
        "apart": apart,
        "torch": lambda: together("torch"),
    }
    seconds = alternate(subjects, rounds=2 if quick else 5, warmups=2)
    speed = {name: f"{32 * tokens / value:,.0f} tokens/s" for name, value in seconds.items()}
    return [
        Figure(
            f"32 answers of GRPO, `nano`, written in a batch; {other}",
            speed["together"],
            speed[name],
            seconds[name] / seconds["together"],
        )
        for name, other in (("apart", "one after another"), ("torch", "with torch"))
    ]
