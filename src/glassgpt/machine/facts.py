"""What this machine is: processor, instruction sets, cores, memory, accelerator, versions.

Processors of the same name can be set to use different instructions (`ATEN_CPU_CAPABILITY`,
`ONEDNN_MAX_CPU_ISA`), and torch changes its kernels from version to version. `Facts.fingerprint` covers
everything that could change a measurement, so that a measurement is never used where it does not apply.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from glassgpt.device import available_cores
from glassgpt.machine.limits import room_in_address_space, room_in_groups

VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
"""Variables that decide which kernels run and on how many cores."""

INSTRUCTIONS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
)
"""The instruction sets that matter to a language model, as Linux names them (x86, then ARM)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that stay the same until somebody changes the machine, the software, or the variables."""

    system: str
    processor: str
    cores: int
    """Cores that this process may use."""
    instructions: tuple[str, ...]
    kernels: str
    """The instruction set that torch's own CPU kernels use."""
    accelerators: tuple[str, ...]
    python: str
    torch: str
    variables: dict[str, str]
    """Those of `VARIABLES` that are set."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ wherever a measurement could."""
        content = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def machine_facts() -> Facts:
    """Return the facts of this machine as this process sees it."""
    cards = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return Facts(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        cores=available_cores(),
        instructions=_instructions(),
        kernels=torch.backends.cpu.get_cpu_capability(),
        accelerators=(
            *(torch.cuda.get_device_name(index) for index in cards),
            *(["Apple MPS"] if torch.backends.mps.is_available() else []),
        ),
        python=platform.python_version(),
        torch=torch.__version__,
        variables={name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
    )


def processor_name() -> str:
    """Return the processor's name, with family, model and stepping, because a name can be as vague as "Xeon"."""
    facts = _cpuinfo()
    name = facts.get("model name") or platform.processor() or platform.machine()
    numbers = [facts.get(key) for key in ("cpu family", "model", "stepping")]
    return f"{name} ({'/'.join(map(str, numbers))})" if all(numbers) else name


def _instructions() -> tuple[str, ...]:
    flags = _cpuinfo()
    present = set(f"{flags.get('flags', '')} {flags.get('Features', '')}".split())
    return tuple(name for name in INSTRUCTIONS if name in present)


def _cpuinfo() -> dict[str, str]:
    """Return what Linux reports about the first processor; empty on other systems."""
    with contextlib.suppress(OSError):
        first, _, _ = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")
        pairs = (line.partition(":") for line in first.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def free_memory(device: torch.device) -> int:
    """Return the free bytes on a device; for main memory, at most what limits leave this process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(min(_free_main_memory(), room_in_groups(), room_in_address_space()))


def _free_main_memory() -> int:
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    return total_memory() // 2


def total_memory() -> int:
    """Return the bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
