"""Parts by name: ours, those added in a script, and those of installed packages, imported only when asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from glassgpt.errors import ConfigError
from glassgpt.registry import Registry, imported


@dataclass(frozen=True)
class Fruit:
    colour: str


Install = Callable[[str, str], None]


@pytest.fixture
def fruits() -> Registry[Fruit]:
    return Registry("fruits", Fruit, {"plum": Fruit("blue")})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package with one module `orchard` and some entry points."""

    def install(source: str, points: str) -> None:
        (tmp_path / "orchard.py").write_text(source)
        facts = tmp_path / "orchard-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: orchard\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[glassgpt.fruits]\n{points}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "orchard", raising=False)

    return install


PEAR = f"from {__name__} import Fruit\nPEAR = Fruit('green')\ndef make_fig(): return Fruit('violet')\n"


@pytest.fixture(autouse=True)
def _own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_a_package_brings_parts(fruits: Registry[Fruit], install: Install) -> None:
    install(PEAR, "pear = orchard:PEAR\nfig = orchard:make_fig")
    assert fruits.names() == ["plum", "fig", "pear"]
    assert "pear" in fruits
    assert "orchard" not in sys.modules, "names alone import nothing"
    assert fruits["pear"] == Fruit("green")
    assert fruits["fig"] == Fruit("violet")
    assert [fruits.package(name) for name in ("plum", "pear")] == [None, "orchard 1.0"]


def test_our_names_cannot_be_taken_over(fruits: Registry[Fruit], install: Install) -> None:
    install(PEAR, "plum = orchard:PEAR")
    assert fruits["plum"] == Fruit("blue")
    assert "orchard" not in sys.modules


def test_a_script_adds_and_removes(fruits: Registry[Fruit]) -> None:
    fruits.add("kiwi", Fruit("brown"))
    assert fruits["kiwi"] == Fruit("brown")
    with pytest.raises(ConfigError, match="already"):
        fruits.add("plum", Fruit("red"))
    fruits.remove("kiwi")
    with pytest.raises(ConfigError, match=r"no 'kiwi' among the fruits.*There are: plum"):
        fruits["kiwi"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise RuntimeError('no sun')", "cannot be imported.*no sun"),
        ("X = 1", "cannot be imported.*PEAR"),
        ("PEAR = 5", "is int and not Fruit"),
    ],
)
def test_a_broken_package_is_named(fruits: Registry[Fruit], install: Install, source: str, says: str) -> None:
    install(source, "pear = orchard:PEAR")
    with pytest.raises(ConfigError, match=f"orchard:PEAR.*{says}"):
        fruits["pear"]
    assert fruits["plum"] == Fruit("blue")


def test_a_place_is_imported() -> None:
    assert imported("os.path:join") is __import__("os").path.join
