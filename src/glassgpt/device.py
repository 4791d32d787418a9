"""The machine a run uses: device, precision, threads, random seed, and place among other processes.

Precision is measured, never guessed: on a CPU without bfloat16 hardware a bfloat16 matmul is hundreds of
times slower than a float32 one, and nothing in its name says so.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import random
import shutil
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from glassgpt import __version__
from glassgpt.errors import ConfigError

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
    """Read RANK, WORLD_SIZE and their LOCAL_ kin, which torchrun sets; without them there is one process."""
    defaults = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    try:
        rank, size, local, local_size = (
            int(os.environ.get(name) or value) for name, value in defaults.items()
        )
    except ValueError as error:
        raise ConfigError(f"{', '.join(defaults)} must be whole numbers: {error}.") from error
    if not 0 <= rank < size:
        raise ConfigError(f"RANK is {rank} but WORLD_SIZE is {size}: ranks run from 0 to WORLD_SIZE - 1.")
    return World(rank, size, local, local_size)


def pick_device(name: str = "auto", world: World | None = None) -> torch.device:
    """Return the device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = _parse_device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "This machine (or this build of torch) has no CUDA device. Use --training.device cpu."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("This machine has no MPS device. Use --training.device cpu.")
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


def pick_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in: "auto" takes bfloat16 only where a matmul is measured to gain by it."""
    if wanted == "auto":
        return torch.bfloat16 if bfloat16_gain(device) > 1.2 else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def bfloat16_gain(device: torch.device, *, size: int = 128, repeats: int = 4) -> float:
    """Return how many times faster a bfloat16 matmul is than a float32 one on `device`, measured now.

    On a CPU one thread measures: several wait for each other on a busy machine, and then the one dtype may look
    hundreds of times as slow as it is, which is the mistake this measurement is to prevent.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    else:
        size = 2048
    dtypes = (torch.float32, torch.bfloat16)
    matrices = {dtype: torch.ones(size, size, dtype=dtype, device=device) for dtype in dtypes}
    try:
        rounds = [{dtype: _time_matmul(matrices[dtype]) for dtype in dtypes} for _ in range(repeats)]
    finally:
        torch.set_num_threads(threads)
    float32, bfloat16 = (min(round_[dtype] for round_ in rounds) for dtype in dtypes)
    return float32 / bfloat16


def _time_matmul(matrix: torch.Tensor) -> float:
    start = time.perf_counter()
    result = matrix @ matrix
    result[0, 0].item()  # waits for the device
    return time.perf_counter() - start


def can_compile(device: torch.device) -> bool:
    """Say whether torch.compile can make code for `device` here: for a CPU it needs a C++ compiler."""
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


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries may draw from the global generator
    torch.manual_seed(seed)


def machine_facts() -> dict[str, Any]:
    """Return what a reader of a run needs to know of the machine and the software it ran on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "glassgpt": __version__,
    }
