"""Run part of the tests again as on other machines: `python tests/rehearse.py`.

torch and oneDNN choose their kernels by the processor's instruction sets, and can be told to leave some out. So one
machine can rehearse others: one without torch's vector instructions, and one with only AVX2. The tests that run are
those whose numbers pass through such kernels: training, generation, planning, int8 weights, exact resume. All
machines are rehearsed at the same time.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

TESTS = (
    "tests/model/test_int8.py",
    "tests/model/test_gpt.py",
    "tests/training/test_trainer.py",
    "tests/training/test_training_state.py",
    "tests/training/test_muon.py",
    "tests/training/test_linear_cross_entropy.py",
    "tests/generation/test_batch.py",
    "tests/generation/test_engine.py",
    "tests/generation/test_sampling.py",
    "tests/generation/test_text.py",
    "tests/planning/test_plan.py",
    "tests/pretraining/test_pretraining.py",
    "tests/runs/test_old_runs.py",
)
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def rehearsals() -> tuple[list[dict[str, str]], list[str]]:
    """Return the variables of each machine to rehearse, and the reasons why others cannot be rehearsed here."""
    chosen, left_out = [PLAIN], []
    if _has_avx2():
        chosen.append(AVX2)
    else:
        left_out.append(f"{_shown(AVX2)}: this processor is not known to have AVX2")
    return chosen, left_out


def _has_avx2() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.is_file():
        return False
    return " avx2 " in cpuinfo.read_text(encoding="utf-8", errors="replace")


def _shown(variables: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in variables.items())


def begin(variables: dict[str, str], number: int, count: int) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start rehearsal `number` of `count` parallel ones; return its process and the file of its output."""
    # A single machine is rehearsed by two workers; two machines by one process each, with its share of the cores.
    workers = ["-n", "2", "--dist", "worksteal"] if count == 1 else []
    output = tempfile.TemporaryFile()  # noqa: SIM115  (closed by whoever reads it)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *workers, *TESTS],
        env={**os.environ, **variables},
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(process.pid, cores[number::count] or cores)
    return process, output


def main() -> int:
    """Run all rehearsals in parallel; return 1 if one failed."""
    chosen, left_out = rehearsals()
    for variables in chosen:
        print(f"Rehearsing a machine with {_shown(variables)}", flush=True)
    begun = [begin(variables, number, len(chosen)) for number, variables in enumerate(chosen)]
    failed = False
    for variables, (process, output) in zip(chosen, begun, strict=True):
        status = process.wait()
        failed |= status != 0
        with output:
            output.seek(0)
            print(output.read().decode(errors="replace"))
        print(f"Rehearsed: {_shown(variables)}{': FAILED' if status else ''}", flush=True)
    for line in left_out:
        print(f"Not rehearsed: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
