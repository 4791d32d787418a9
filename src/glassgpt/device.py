"""Where a run computes: device, dtype, threads, random seed, and rank among other processes.

What is fast on a machine is not decided here: see the package `machine` and `training/choices.py`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from glassgpt import __version__
from glassgpt.errors import ConfigError

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""Variables that give a process its place among those that train together."""
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class World:
    """This process among the processes that train together, as torchrun numbers them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0


def world_from_environment() -> World:
    """Read RANK, WORLD_SIZE and their LOCAL_ variants, which torchrun sets; without them there is one process.

    Raises `ConfigError` when only some of them are set: the processes would wait for each other forever, or each
    would train alone.
    """
    defaults = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    try:
        rank, size, local, local_size = (
            int(os.environ.get(name) or value) for name, value in defaults.items()
        )
    except ValueError as error:
        raise ConfigError(f"{', '.join(defaults)} must be whole numbers: {error}.") from error
    given = [name for name in ("RANK", "WORLD_SIZE") if os.environ.get(name)]
    needed = (*PLACE, "MASTER_ADDR", "MASTER_PORT") if size > 1 else PLACE[:2] if given else ()
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"{' and '.join(given)} {'are' if len(given) > 1 else 'is'} set, as for training by several processes, but "
            f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} not. Start such a training with torchrun, "
            f"which sets them all, or train alone:  unset {' '.join(given)}"
        )
    if not 0 <= rank < size:
        raise ConfigError(f"RANK is {rank} but WORLD_SIZE is {size}: ranks run from 0 to WORLD_SIZE - 1.")
    if local < 0 or local_size < 1:
        raise ConfigError(f"LOCAL_RANK is {local} and LOCAL_WORLD_SIZE {local_size}: there is no such place.")
    return World(rank, size, local, local_size)


def pick_device(name: str = "auto", world: World | None = None) -> torch.device:
    """Return the device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = _parse_device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("This machine (or this build of torch) has no CUDA device. Use --device cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("This machine has no MPS device. Use --device cpu.")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", world.local_rank if world else 0)
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise ConfigError(
            f"There is no {device}: CUDA devices are counted from 0 and this machine has "
            f"{torch.cuda.device_count()}. Start no more processes on it than that."
        )
    return device


def _parse_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type in ("cpu", "cuda", "mps"):  # torch knows names of devices that nobody trains on
            return device
    except RuntimeError:
        pass
    raise ConfigError(f"There is no device called {name!r}. Use auto, cpu, cuda, cuda:0 or mps.")


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the dtype of a precision. An undecided "auto" is float32, which works everywhere.

    `glassgpt.training.choices` decides it by measuring.
    """
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def can_compile(device: torch.device) -> bool:
    """Return whether torch.compile can generate code for `device` here: for a CPU it needs a C++ compiler."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)


def available_cores() -> int:
    """Return the number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(threads: int, *, processes: int = 1) -> int:
    """Let torch use `threads` CPU threads (0: this process's share of the cores); return the number in use."""
    torch.set_num_threads(threads or max(1, available_cores() // processes))
    return torch.get_num_threads()


@contextlib.contextmanager
def threads_set(threads: int) -> Iterator[None]:
    """Compute with a number of CPU threads inside the block; 0 leaves it as it is."""
    before = torch.get_num_threads()
    if threads in (0, before):
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries may draw from the global generator
    torch.manual_seed(seed)


def machine_facts() -> dict[str, Any]:
    """Return what a reader of a run needs to know about the machine and the software it ran on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "glassgpt": __version__,
    }
