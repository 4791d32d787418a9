"""Figures, and the tables that show them."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "numpy", "tokenizers", "tiktoken", "transformers")


@dataclass(frozen=True)
class Figure:
    """One comparison: what was measured of GlassGPT and of its peer, and the ratio that matters."""

    what: str
    """What is compared, with the peer's name: "training 8,192 merges, Python against Rust"."""
    ours: str
    """GlassGPT's value with its unit: "3.1 s"."""
    peer: str = ""
    """The peer's value in the same unit; empty where there is none."""
    ratio: float | None = None
    """How many times better GlassGPT is than its peer, or as `mark` says."""
    mark: str = ""
    """The goal in words: "at least 8x"."""
    reached: bool | None = None
    """Whether the goal was reached; None without a mark."""


def write(name: str, figures: Sequence[Figure], *, quick: bool, folder: Path = RESULTS) -> Path:
    """Write one benchmark's figures as Markdown, with machine, versions and date, and as JSON beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-quick" if quick else name
    facts = machine()
    content = {"benchmark": name, "quick": quick, "machine": facts, "figures": [asdict(f) for f in figures]}
    (folder / f"{stem}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    title = f"# {name}{' (quick: a check that it works, not a measurement)' if quick else ''}"
    lines = [
        title,
        "",
        "  \n".join(f"{key}: {value}" for key, value in facts.items()),
        "",
        table(figures),
        "",
    ]
    path = folder / f"{stem}.md"
    path.write_text("\n".join(lines))
    return path


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = ["| what | GlassGPT | peer | ratio | mark | reached |", "| --- | --- | --- | --- | --- | --- |"]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
        reached = "" if figure.reached is None else ("yes" if figure.reached else "no")
        rows.append(
            f"| {figure.what} | {figure.ours} | {figure.peer} | {ratio} | {figure.mark} | {reached} |"
        )
    return "\n".join(rows)


def machine() -> dict[str, str]:
    """Return what a reader needs to judge the figures: processor, cores, versions, date."""
    from glassgpt.device import available_cores

    versions = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    return {
        "date": date.today().isoformat(),
        "machine": f"{_processor()}, {available_cores()} cores, {platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, {versions}",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
