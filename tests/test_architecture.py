"""The architecture holds: imports point only downwards, without cycles, and the lower floors need no torch.

This reads the imports of every module (those inside functions too) instead of running anything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "glassgpt"

# The first part of a module's name after `glassgpt.` is its package.
FLOORS = {
    "errors": 0,
    "system": 0,
    "leftovers": 0,
    "files": 0,
    "config": 0,
    "idle": 0,
    "registry": 0,
    "commands": 0,
    "outputs": 0,
    "corpus": 1,
    "tokenizers": 1,
    "device": 2,
    "machine": 2,
    "dataset": 2,
    "model": 2,
    "training": 3,
    "generation": 3,
    "architectures": 3,
    "adapters": 3,
    "runs": 4,
    "chat": 4,
    "evaluation": 5,
    "interop": 5,
    "inspection": 5,
    "planning": 6,
    "jobs": 6,
    "pretraining": 6,
    "explaining": 6,
    "finetuning": 6,
    "doctor": 7,
    "serving": 7,
    "cli": 8,
}
# Within a floor, which package may use which.
NEIGHBOURS = {
    ("system", "errors"),
    ("files", "errors"),
    ("outputs", "errors"),
    ("files", "commands"),
    ("files", "system"),
    ("files", "leftovers"),
    ("config", "errors"),
    ("idle", "errors"),
    ("registry", "errors"),
    ("config", "files"),
    ("dataset", "device"),
    ("machine", "device"),
    ("model", "device"),
    ("adapters", "architectures"),
    ("chat", "runs"),
    ("inspection", "evaluation"),
    ("pretraining", "jobs"),
    ("finetuning", "jobs"),
    ("finetuning", "pretraining"),
}
# The packages that must work without torch, and single modules of higher packages that must, too.
WITHOUT_TORCH = (
    "errors", "system", "leftovers", "files", "config", "idle", "registry", "commands", "outputs", "corpus",
    "tokenizers",
)  # fmt: skip

# The one module that opens what `torch.save` wrote, and only its tensors.
READS_NOTEBOOKS = "glassgpt.interop.state_dicts"


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def inner_imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, as names of existing modules."""
    known = {module_name(module) for module in modules()}
    return {name for name in imported(path) if name.startswith("glassgpt.") and name in known}


def test_every_room_has_a_floor() -> None:
    rooms = {room(module_name(path)) for path in modules()} - {"", "__main__"}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_imports_run_downwards(path: Path) -> None:
    here = room(module_name(path))
    if here in ("", "__main__"):
        return
    for name in inner_imports(path):
        there = room(name)
        if there in ("", here):
            continue
        allowed = FLOORS[there] < FLOORS[here] or (here, there) in NEIGHBOURS
        assert allowed, f"{module_name(path)} (floor {FLOORS[here]}) imports {name} (floor {FLOORS[there]})"


def test_no_cycle_anywhere() -> None:
    graph = {module_name(path): inner_imports(path) - {module_name(path)} for path in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_lower_floors_need_no_torch(path: Path) -> None:
    if room(module_name(path)) in WITHOUT_TORCH:
        assert not any(name.split(".")[0] == "torch" for name in imported(path))


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_nothing_is_ever_unpickled(path: Path) -> None:
    names = set(imported(path))
    assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    text = path.read_text(encoding="utf-8")
    assert text.count("torch.load(") == int(module_name(path) == READS_NOTEBOOKS)
    assert all("weights_only=True" in call for call in re.findall(r"torch\.load\(.*", text))
    assert "allow_pickle=True" not in text


def test_package_files_only_describe() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr), path
