"""Muon: momentum whose update for each matrix is made orthogonal (Jordan et al. 2024, "Muon").

The gradient of a weight matrix is dominated by a few directions; a step along it moves those and leaves the
others where they are. Muon replaces the momentum M = U S V^T by its orthogonal factor U V^T, in which every
direction has the same size: the steepest step when the size of a change is measured by how far it can move
an output (Bernstein and Newhouse 2024, "Old optimizer, new norm").

The factor comes without an SVD, by a Newton-Schulz iteration: an odd polynomial applied to the matrix acts on
its singular values alone, and some polynomials drive all of them towards 1. Matrices of equal shape go through
it together as one batch. It runs in float32 on a CPU, where bfloat16 may be hundreds of times slower, and in
bfloat16 on a GPU, whose rounding the iteration forgives (`torch.optim.Muon` takes bfloat16 everywhere).

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

# Jordan et al. 2024: these make the slope at zero as steep as it can be while all singular values end within
# about 0.7 to 1.2, which serves a step as well as 1 would.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Muon(Optimizer):
    """Muon over matrices. A group may name `rows`: the sizes of the matrices that lie stacked in each weight."""

    def __init__(
        self, params: Iterable[Any], *, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "rows": None})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient: W -= lr (sqrt(max(1, A / B)) orthogonal(M) + weight_decay W).

        M is Nesterov's: the gradient mixed once more with the momentum that holds it already. The factor makes a
        matrix with more outputs than inputs move its outputs as far as a square one does.
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
    """Return about the orthogonal factor U V^T of each matrix U S V^T, (P, A, B).

    Each round maps the singular values s to a s + b s^3 + c s^5. They have to begin below 1, which dividing by
    the Frobenius norm makes sure of.
    """
    x_PAB = matrices_PAB.bfloat16() if matrices_PAB.device.type == "cuda" else matrices_PAB
    tall = x_PAB.shape[-2] > x_PAB.shape[-1]
    if tall:  # the products below are of the size of the rows
        x_PAB = x_PAB.mT
    x_PAB = x_PAB / (torch.linalg.matrix_norm(x_PAB, keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram_PAA = x_PAB @ x_PAB.mT
        polynomial_PAA = torch.baddbmm(gram_PAA, gram_PAA, gram_PAA, beta=B, alpha=C)
        x_PAB = torch.baddbmm(x_PAB, polynomial_PAA, x_PAB, beta=A)
    return x_PAB.mT if tall else x_PAB
