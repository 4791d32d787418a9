"""Free memory respects control groups, of both versions, and the limit of a shell on the address space."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from glassgpt.machine.limits import room_in_groups

FREE = "import torch; from glassgpt.machine.facts import free_memory; print(free_memory(torch.device('cpu')))"


def group(folder: Path, limit: str, used: int, droppable: int = 0, *, version: int = 2) -> None:
    """Write the files of a control group as Linux shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        ("memory.max", "memory.current")
        if version == 2
        else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    stat = "inactive_file" if version == 2 else "total_inactive_file"
    (folder / "memory.stat").write_text(f"anon 5\n{stat} {droppable}\n")


@pytest.mark.parametrize(
    ("limit", "used", "droppable", "room"),
    [
        ("1000", 400, 0, 600), ("1000", 400, 300, 900), ("1000", 1200, 0, 0), ("max", 400, 0, math.inf),
        ("no number", 400, 0, math.inf), ("1000", 400, 900, 1000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [1, 2])
def test_a_group_leaves_what_its_limit_leaves(
    tmp_path: Path, version: int, limit: str, used: int, droppable: int, room: float
) -> None:
    (tmp_path / "own").write_text("0::/a/job\n" if version == 2 else "9:cpu:/x\n4:cpuset,memory:/a/job\n")
    if version == 1 and limit == "max":
        limit = "9223372036854771712"  # how version 1 says it
    base = tmp_path / "groups" / ("memory" if version == 1 else "")
    group(base / "a/job", limit, used, droppable, version=version)
    assert room_in_groups(tmp_path / "groups", tmp_path / "own") == room


def test_the_group_above_counts_too(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/a/job\n")
    group(tmp_path / "a/job", "max", 100)
    group(tmp_path / "a", "1000", 700)
    group(tmp_path, "5000", 800)
    assert room_in_groups(tmp_path, tmp_path / "own") == 300


@pytest.mark.parametrize("own", [None, "", "nonsense\n", "0::/gone\n"])
def test_without_a_limit_that_can_be_read_nothing_is_assumed(tmp_path: Path, own: str | None) -> None:
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert room_in_groups(tmp_path, tmp_path / "own") == math.inf


def test_the_limit_of_a_shell_counts() -> None:
    limit = 8 << 30
    begin = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit})); "
    done = subprocess.run([sys.executable, "-c", begin + FREE], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < limit - (1 << 28)  # torch itself is mapped
