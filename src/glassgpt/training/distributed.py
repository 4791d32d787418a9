"""One training on several processes: averaging gradients and agreeing on decisions.

Plain data parallelism: each rank takes its rows of the batch, gradients are averaged, and every rank makes the same
update. With one process these functions do nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from glassgpt.device import World

# The main process may prepare a corpus for hours while the others wait at a barrier.
PATIENCE = timedelta(days=1)


@contextlib.contextmanager
def process_group(world: World, device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started (NCCL on CUDA, gloo elsewhere), and leave the group at the end."""
    if world.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL sends objects through the current device
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def average_gradients(model: nn.Module, world: World) -> None:
    """Replace every gradient by its mean over the ranks."""
    if world.size == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world.size
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def average(value: Tensor, world: World) -> Tensor:
    """Return the mean of a tensor over the ranks."""
    if world.size == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world.size


def total(count: int, world: World, device: torch.device) -> int:
    """Return the sum of a count over the ranks."""
    if world.size == 1:
        return count
    counts = torch.tensor(count, device=device)
    dist.all_reduce(counts)
    return int(counts.item())


def average_numbers(numbers: dict[str, float], world: World, device: torch.device) -> dict[str, float]:
    """Return the mean over the ranks of each number; all ranks use the same names."""
    if world.size == 1 or not numbers:
        return numbers
    names = sorted(numbers)
    means = average(torch.tensor([numbers[name] for name in names], device=device), world)
    return dict(zip(names, means.tolist(), strict=True))


def any_rank(flag: bool, world: World, device: torch.device) -> bool:
    """Return whether the flag is set on any rank, so that all of them stop at the same step."""
    if world.size == 1:
        return flag
    return average(torch.tensor(float(flag), device=device), world).item() > 0


def barrier(world: World) -> None:
    """Wait until every rank has reached this point."""
    if world.size > 1:
        dist.barrier()


def from_main(make: Callable[[], Any], world: World) -> Any:
    """Call `make` on the main process and return its result on every rank."""
    if world.size == 1:
        return make()
    box = [make() if world.is_main else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]
