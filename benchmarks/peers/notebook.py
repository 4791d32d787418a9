"""The model and training of the from-scratch notebooks, in textbook PyTorch.

One linear layer for each head's queries, keys and values, a triangle of ones as the mask, ReLU, learned
positions, an untied head with a bias, GPT-2's vocabulary, AdamW at a constant rate: 13,716,049 weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY, CONTEXT, LAYERS, HEADS, WIDTH, DROPOUT = 50257, 64, 4, 4, 128, 0.1
BATCH, LEARNING_RATE = 32, 1e-3


class Head(nn.Module):
    """Attention of one head."""

    def __init__(self) -> None:
        super().__init__()
        size = WIDTH // HEADS
        self.query, self.key, self.value = (nn.Linear(WIDTH, size, bias=False) for _ in range(3))
        self.register_buffer("triangle", torch.tril(torch.ones(CONTEXT, CONTEXT)))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, WIDTH) to (B, T, WIDTH / HEADS)."""
        length = x.shape[1]
        query, key = self.query(x), self.key(x)
        scores = query @ key.transpose(-2, -1) / key.shape[-1] ** 0.5
        scores = scores.masked_fill(self.triangle[:length, :length] == 0, float("-inf"))
        return self.dropout(scores.softmax(-1)) @ self.value(x)


class Block(nn.Module):
    """Heads side by side, then two layers for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head() for _ in range(HEADS))
        self.project = nn.Linear(WIDTH, WIDTH)
        self.feed = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH), nn.Dropout(DROPOUT)
        )
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, WIDTH) to itself."""
        normed = self.norm_1(x)
        attended = torch.cat([head(normed) for head in self.heads], dim=-1)
        x = x + self.dropout(self.project(attended))
        return x + self.feed(self.norm_2(x))


class NotebookModel(nn.Module):
    """Token ids (B, T) to logits (B, T, VOCABULARY)."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of each next token."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy, computed from all logits."""
    logits = model(inputs)
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Return AdamW with its defaults."""
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)


def train(text: str, steps: int) -> tuple[float, nn.Module, Callable[[str], list[int]]]:
    """Train on a text, starting from the raw characters; return the seconds taken, the model and its encoder."""
    import tiktoken

    began = time.perf_counter()
    encoding = tiktoken.get_encoding("gpt2")
    ids = torch.tensor(encoding.encode(text, allowed_special="all"))
    torch.manual_seed(1337)
    model = NotebookModel()
    optimizer = make_optimizer(model)
    for _ in range(steps):
        starts = torch.randint(len(ids) - CONTEXT, (BATCH,))
        inputs = torch.stack([ids[start : start + CONTEXT] for start in starts])
        targets = torch.stack([ids[start + 1 : start + CONTEXT + 1] for start in starts])
        optimizer.zero_grad(set_to_none=True)
        loss_of(model, inputs, targets).backward()
        optimizer.step()
    seconds = time.perf_counter() - began
    return seconds, model, lambda text: encoding.encode(text, allowed_special="all")
