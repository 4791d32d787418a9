"""Muon: momentum with an update that is made orthogonal for each matrix (Jordan et al. 2024, "Muon").

A few directions dominate the gradient of a weight matrix; a step along it moves those and hardly any others. Muon
replaces the momentum M = U S V^T by its orthogonal factor U V^T, in which every direction has the same size. This is
the steepest step when a change is measured by how far it can move an output (Bernstein and Newhouse 2024, "Old
optimizer, new norm").

A Newton-Schulz iteration computes the factor without an SVD: an odd polynomial of the matrix acts only on its singular
values, and some polynomials drive all of them towards 1. Matrices of equal shape go through it as one batch. It runs
in float32 on a CPU, where bfloat16 may be hundreds of times slower, and in bfloat16 on a GPU; the iteration tolerates
the rounding (`torch.optim.Muon` uses bfloat16 everywhere).

Muon is for the matrices of the blocks. Embeddings, head, norms and biases stay with AdamW; see `optimizers`.

Legend: M momentum, P number of matrices in a batch, A rows, B columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Jordan et al. 2024: these make the slope at zero as steep as possible while all singular values end within about 0.7
# to 1.2, which works as well as exactly 1.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Muon(Optimizer):
    """Muon over matrices. A group may name `rows`: the sizes of the matrices that are stacked in each weight."""

    def __init__(
        self, params: Iterable[Any], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "rows": None})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient: W -= lr (sqrt(max(1, A / B)) orthogonal(M) + weight_decay W).

        M is Nesterov momentum: the gradient, mixed once more with the momentum that already contains it. With the
        factor sqrt(max(1, A / B)), a matrix with more outputs than inputs moves its outputs as far as a square one.
        """
        assert closure is None
        places: dict[torch.Size, list[tuple[Tensor, Tensor, float]]] = defaultdict(list)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._nesterov(weight, group["momentum"])
                rows = group["rows"] or (len(weight),)
                for part, part_update in zip(weight.split(rows), update.split(rows), strict=True):
                    places[part.shape].append((part, part_update, group["lr"]))
        for shape, matrices in places.items():
            grow = max(1.0, shape[0] / shape[1]) ** 0.5
            orthogonal_PAB = orthogonalize(torch.stack([update for _, update, _ in matrices]))
            for (part, _, rate), orthogonal_AB in zip(matrices, orthogonal_PAB, strict=True):
                part.sub_(orthogonal_AB.to(part.dtype), alpha=rate * grow)

    def _nesterov(self, weight: Tensor, momentum: float) -> Tensor:
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(state["momentum"], momentum)


def orthogonalize(matrices_PAB: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Return approximately the orthogonal factor U V^T of each matrix U S V^T, (P, A, B).

    Each iteration maps the singular values s to a s + b s^3 + c s^5. They must begin below 1, which dividing by the
    Frobenius norm ensures.
    """
    x_PAB = matrices_PAB.bfloat16() if matrices_PAB.device.type == "cuda" else matrices_PAB
    tall = x_PAB.shape[-2] > x_PAB.shape[-1]
    if tall:  # the products below have the size of the rows
        x_PAB = x_PAB.mT
    x_PAB = x_PAB / (torch.linalg.matrix_norm(x_PAB, keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram_PAA = x_PAB @ x_PAB.mT
        polynomial_PAA = torch.baddbmm(gram_PAA, gram_PAA, gram_PAA, beta=B, alpha=C)
        x_PAB = torch.baddbmm(x_PAB, polynomial_PAA, x_PAB, beta=A)
    return x_PAB.mT if tall else x_PAB
