"""A small character model trained as in nanoGPT on a CPU, in textbook PyTorch.

One projection for queries, keys and values, torch's fused attention, GELU, no biases, a head tied to the
embedding; AdamW with warm-up and cosine decay, gradients clipped: 0.8 million weights, 2,000 steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONTEXT, LAYERS, HEADS, WIDTH = 64, 4, 4, 128
BATCH, STEPS, WARMUP = 12, 2000, 100
LEARNING_RATE, LOWEST_RATE, DECAY = 1e-3, 1e-4, 0.1


class Block(nn.Module):
    """Attention and MLP, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = (nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.attend = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.project = nn.Linear(WIDTH, WIDTH, bias=False)
        self.widen = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, WIDTH) to itself."""
        rows, length, _ = x.shape
        query, key, value = (
            part.view(rows, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in self.attend(self.norm_1(x)).split(WIDTH, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(rows, length, WIDTH))
        return x + self.narrow(F.gelu(self.widen(self.norm_2(x))))


class CharacterModel(nn.Module):
    """Character ids (B, T) to logits (B, T, characters)."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(characters, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, characters, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                ends_block = name.endswith(("project.weight", "narrow.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS) if ends_block else 0.02)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of each next character."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate: a linear rise, then half a cosine."""
    if step < WARMUP:
        return LEARNING_RATE * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / max(1, steps - WARMUP)
    return LOWEST_RATE + 0.5 * (1 + math.cos(math.pi * share)) * (LEARNING_RATE - LOWEST_RATE)


def train(text: str, steps: int = STEPS) -> tuple[float, nn.Module, Callable[[str], list[int]]]:
    """Train on a text, starting from the raw characters; return the seconds taken, the model and its encoder."""
    began = time.perf_counter()
    ids_of = {character: id for id, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([ids_of[character] for character in text])
    torch.manual_seed(1337)
    model = CharacterModel(len(ids_of))
    matrices = [weight for weight in model.parameters() if weight.dim() >= 2]
    vectors = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        starts = torch.randint(len(ids) - CONTEXT, (BATCH,))
        inputs = torch.stack([ids[start : start + CONTEXT] for start in starts])
        targets = torch.stack([ids[start + 1 : start + CONTEXT + 1] for start in starts])
        optimizer.zero_grad(set_to_none=True)
        logits = model(inputs)
        F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - began, model, lambda text: [ids_of[character] for character in text]
