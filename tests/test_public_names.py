"""The names of `glassgpt`: each exists, is shown and documented, and is loaded only when it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import glassgpt


def test_the_names_are_these() -> None:
    """A change here is a change of what programs rely on: it belongs in the changelog."""
    assert sorted(glassgpt.__all__) == [
        "GPT", "GenerationConfig", "GlassGPTError", "ModelConfig", "RunConfig", "__version__", "complete",
        "load_tokenizer", "open_run", "resume_run", "start_run", "stream",
    ]  # fmt: skip


@pytest.mark.parametrize("name", glassgpt.__all__)
def test_a_name_is_there_and_shown(name: str) -> None:
    assert name in dir(glassgpt)
    found = getattr(glassgpt, name)
    assert name == "__version__" or found.__doc__


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING and the table of homes are two lists of one thing."""
    tree = ast.parse(Path(glassgpt.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    stated = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert stated == glassgpt._HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        importlib.import_module("glassgpt").trian  # noqa: B018


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = "import sys, glassgpt; dir(glassgpt); print([name for name in sys.modules if name.startswith('glassgpt.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
