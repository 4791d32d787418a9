"""How much memory this process may still use, where it may use less than the machine has.

A container may use only a share (a control group, version 1 or 2), and a shell may limit a process's address space
(`ulimit -v`, RLIMIT_AS). A control group kills a process that uses more without a message, so its limit is checked
in advance. A limit that cannot be read counts as none.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
UNLIMITED_V1 = 1 << 60
"""Version 1 says "no limit" with a number near the largest possible."""


def room_in_groups(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> float:
    """Return the bytes that the control groups of this process leave it; infinity without a limit.

    `groups` is where they are mounted, `own` the file that names those of this process. A group's limit also holds for
    the groups inside it, so all groups above count. Cached file contents that can be dropped count as free.
    """
    return min((_room(*files) for files in _files(groups, own)), default=math.inf)


def room_in_address_space() -> float:
    """Return the bytes that this process may still map under RLIMIT_AS; infinity without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return limit


def _files(groups: Path, own: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Yield each group's folder and the names of its files: the limit, the use, and the part that can be dropped."""
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            path = PurePosixPath(name.lstrip("/"))
            inside = (path, *path.parents)
            if not controllers:
                for place in inside:
                    yield groups / place, "memory.max", "memory.current", "inactive_file"
            elif "memory" in controllers.split(","):
                for place in inside:
                    folder = groups / "memory" / place
                    yield folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"


def _room(folder: Path, limit: str, used: str, droppable: str) -> float:
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        if most == "max" or int(most) >= UNLIMITED_V1:
            return math.inf
        taken = int((folder / used).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return math.inf
    with contextlib.suppress(OSError, ValueError):
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        taken -= int(dict(line.split(maxsplit=1) for line in lines).get(droppable, 0))
    return max(0, int(most) - max(0, taken))
