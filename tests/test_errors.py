"""The errors form one tree, and their messages give the way out."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import glassgpt
from glassgpt import errors
from glassgpt.errors import GlassGPTError, MissingExtraError, did_you_mean, require


def error_classes(path: Path) -> set[str]:
    """The names of the exceptions that a module defines."""
    classes = (
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)
    )
    return {node.name for node in classes if node.name.endswith("Error")}


def test_every_error_of_the_package_stands_in_the_tree_of_the_docstring():
    drawn = re.findall(r"^[ │├└─]*([A-Z]\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    defined = {path: error_classes(path) for path in Path(glassgpt.__path__[0]).rglob("*.py")}
    assert defined.pop(Path(errors.__file__)) == set(drawn)
    assert not set().union(*defined.values())
    assert all(issubclass(getattr(errors, name), GlassGPTError) for name in drawn)


def test_the_drawn_branches_are_the_real_ones():
    assert issubclass(errors.NonFiniteLossError, errors.TrainingError)
    assert issubclass(errors.CheckpointError, errors.RunError)
    assert not issubclass(GlassGPTError, ValueError)


def test_did_you_mean_names_the_nearest_first():
    known = ["learning_rate", "min_learning_rate", "batch_size", "seed"]
    assert did_you_mean("learnin_rate", known).startswith(" Did you mean learning_rate")
    assert did_you_mean("learnin_rate", known, most=1) == " Did you mean learning_rate?"
    assert did_you_mean("zzz", known) == ""


def test_require_gives_the_module():
    assert require("json.decoder", extra="data", purpose="read").__name__ == "json.decoder"


def test_a_missing_library_is_named_with_the_line_that_installs_it():
    with pytest.raises(MissingExtraError) as caught:
        require("no_such_library.part", extra="data", purpose="read .parquet files")
    assert "'no_such_library' is needed to read .parquet files, and is not installed" in str(caught.value)
    assert "pip install 'glassgpt[data]'" in str(caught.value)


def test_a_broken_library_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is installed, but something that it needs is not."""
    (tmp_path / "half_installed.py").write_text("import its_own_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingExtraError, match=r"cannot be imported \(No module named 'its_own_dependency'\)"
    ):
        require("half_installed", extra="data", purpose="read")
    assert "half_installed" not in sys.modules
