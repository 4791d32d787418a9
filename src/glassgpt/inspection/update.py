"""One update, looked at: forward, backward, one step of an optimizer, and what that did to each weight and to the loss.

    loss L(w) -> gradient g = dL/dw -> the optimizer's change d -> loss L(w + d)

To first order the loss changes by the sum of g d (Taylor). Where this prediction and the real change are close, the
step is small for this loss. Where they are far apart, the loss is curved along the step, and the step is large for it.

All of it happens on a copy: the given model keeps its weights, and has no gradients afterwards that it did not have.

Legend: B rows, T tokens.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glassgpt.errors import InspectionError
from glassgpt.inspection.checks import require_ids
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.model.stored import StoredLinear
from glassgpt.training.linear_cross_entropy import linear_cross_entropy
from glassgpt.training.optimizers import set_learning_rate

NUMBERS_AT_ONCE = 1 << 20
"""Numbers of a weight that are converted to float64 at a time."""


@dataclass(frozen=True)
class Change:
    """What the update did to one weight, or to several together. Norms are L2 norms over all their numbers."""

    name: str
    """The name of the weight, or what the names of several begin with, such as `blocks.0`."""
    numbers: int
    """How many numbers they have."""
    weight: float
    """|w|, before the update."""
    gradient: float
    """|g|, before any clipping."""
    change: float
    """|d|."""
    relative: float | None
    """|d| / |w|; None where the weight is zero."""
    cosine: float | None
    """-g . d / (|g| |d|): 1 where the change is down the gradient; None where one of both is zero."""
    predicted: float
    """g . d: what this change alone adds to the loss, to first order, in nats."""


@dataclass(frozen=True)
class Update:
    """One update. Losses are means over all predicted tokens of the batch, in nats, without dropout."""

    loss_before: float
    loss_after: float
    weights: tuple[Change, ...]
    """Each trained weight, in the order of the model."""
    blocks: tuple[Change, ...]
    """The same for each block, and for what is before and after the blocks."""
    whole: Change
    """The same for all weights together; `whole.predicted` is the predicted change of the loss."""

    @property
    def loss_change(self) -> float:
        """The real change of the loss on the batch, in nats."""
        return self.loss_after - self.loss_before


def one_update(
    model: GPT,
    ids_BT: Sequence[Sequence[int]],
    *,
    build: Callable[[GPT], Optimizer] | None = None,
    learning_rate: float | None = None,
    clip: float = 0.0,
) -> Update:
    """Return what one update on a batch of rows of one length would do to the model, which is not changed.

    `build` makes the optimizer for the copy of the model: that of a training with the settings `config` is
    `lambda model: make_optimizer(model, config)`, from `glassgpt.training.optimizers`. Without it, it is AdamW with
    torch's settings (Loshchilov and Hutter, 2019), without decay, at a rate of 0.001. `learning_rate` replaces the rate
    in both cases, as the training loop sets it. `clip` is the largest norm of all gradients together; 0 does not clip.

    The optimizer is new: an update in the middle of a training also depends on the optimizer's state. Weights that are
    frozen stay so; where all are frozen, all are trained. Weights in 16 bits are updated in float32, as in training.

    Raises `InspectionError` for rows that are empty, of different lengths or too long, for ids outside the vocabulary,
    for a model with stored weights (int8, bfloat16), and where the loss or the gradient is not finite.
    """
    _check(model, learning_rate, clip)
    # Also where the caller has switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        rows_BT = _rows(model, ids_BT)
        changed = _trainable_copy(model)
        optimizer = (build or partial(_adamw, learning_rate=1e-3))(changed)
        if learning_rate is not None:
            set_learning_rate(optimizer, learning_rate)
        with evaluating(changed):
            loss_before = _loss(changed, rows_BT)
            loss_before.backward()
            gradients = _gradients(changed)
            norm = nn.utils.clip_grad_norm_(changed.parameters(), clip or math.inf)
            if not math.isfinite(loss_before.item()) or not math.isfinite(norm.item()):
                raise InspectionError(
                    f"The loss is {loss_before.item()} and the norm of its gradient {norm.item()}. Such an update "
                    "would destroy the weights. Look at an earlier checkpoint."
                )
            optimizer.step()
            with torch.no_grad():
                loss_after = _loss(changed, rows_BT)
    sums = _sums(model, changed, gradients)
    blocks: dict[str, Tensor] = {}
    for name, of_weight in sums.items():
        block = _block_of(name)
        blocks[block] = blocks[block] + of_weight if block in blocks else of_weight
    return Update(
        loss_before.item(),
        loss_after.item(),
        tuple(_change(name, of_weight) for name, of_weight in sums.items()),
        tuple(_change(name, of_block) for name, of_block in blocks.items()),
        _change("model", torch.stack([*sums.values()]).sum(0)),
    )


def _adamw(model: GPT, learning_rate: float) -> Optimizer:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)


def _trainable_copy(model: GPT) -> GPT:
    """Return a copy without gradients, in float32 at least, in which some weights are trainable."""
    changed = copy.deepcopy(model)
    if changed.token_embedding.weight.dtype in (torch.bfloat16, torch.float16):
        changed = changed.float()
    if not any(weight.requires_grad for weight in changed.parameters()):
        changed.requires_grad_(True)
    changed.zero_grad(set_to_none=True)
    return changed


def _loss(model: GPT, rows_BT: Tensor) -> Tensor:
    """Return the mean loss of each token after the first; in float64 for a model in float64."""
    targets_BT = rows_BT[:, 1:]
    return model(
        rows_BT[:, :-1],
        then=lambda model, hidden_BTC: linear_cross_entropy(
            hidden_BTC, model.head_weight, targets_BT, model.head_bias
        ),
    )


def _gradients(model: GPT) -> dict[str, Tensor]:
    """Return a copy of each trainable weight's gradient; zeros for one that the loss does not depend on."""
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


@torch.no_grad()
def _sums(model: GPT, changed: GPT, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return for each trained weight the sums that a `Change` follows from: of 1, w^2, g^2, d^2 and g d, (5,)."""
    before, after = dict(model.named_parameters()), dict(changed.named_parameters())
    found: dict[str, Tensor] = {}
    for name, gradient in gradients.items():
        found[name] = torch.zeros(5, dtype=torch.float64)
        tensors = (
            tensor.flatten().split(NUMBERS_AT_ONCE) for tensor in (before[name], after[name], gradient)
        )
        for parts in zip(*tensors, strict=True):
            w_N, new_N, g_N = (part.cpu().double() for part in parts)
            d_N = new_N - w_N
            found[name] += torch.stack((d_N.new_tensor(len(w_N)), w_N @ w_N, g_N @ g_N, d_N @ d_N, g_N @ d_N))
    return found


def _change(name: str, sums: Tensor) -> Change:
    numbers, *squares, product = sums.tolist()
    weight, gradient, change = map(math.sqrt, squares)
    lengths = gradient * change
    return Change(
        name,
        int(numbers),
        weight,
        gradient,
        change,
        relative=change / weight if weight else None,
        cosine=-product / lengths if lengths else None,
        predicted=product,
    )


def _block_of(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]


def _check(model: GPT, learning_rate: float | None, clip: float) -> None:
    if any(isinstance(module, StoredLinear) for module in model.modules()):
        raise InspectionError(
            "This model's matrices are stored in fewer bits and cannot be trained. Open the run with its weights as "
            "saved."
        )
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise InspectionError(f"learning_rate = {learning_rate}: it must be a number above 0.")
    if not 0 <= clip < math.inf:
        raise InspectionError(f"clip = {clip}: it must be 0 (off) or more.")


def _rows(model: GPT, ids_BT: Sequence[Sequence[int]]) -> Tensor:
    """Return the rows on the model's device, (B, T)."""
    lengths = sorted({len(row) for row in ids_BT})
    most = model.config.context_length + 1  # the last token is only predicted
    if len(lengths) != 1 or not 2 <= lengths[0] <= most:
        found = " or ".join(f"{length:,}" for length in lengths[:3]) or "no"
        raise InspectionError(
            f"A batch needs one or more rows of one length, from 2 to {most:,} tokens, and these have {found} tokens."
        )
    require_ids(model.config, (id for row in ids_BT for id in row))
    return torch.tensor([list(row) for row in ids_BT], device=model.token_embedding.weight.device)
