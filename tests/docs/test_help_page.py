"""`docs/help.md` says what the commands say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
REMEDY = (
    "docs/help.md is not what the commands say now. Write it again with:  .venv/bin/python docs/make_help.py"
)


@pytest.fixture(scope="module")
def help_page() -> str:
    spec = importlib.util.spec_from_file_location("make_help", DOCS / "make_help.py")
    assert spec is not None
    assert spec.loader is not None
    make_help = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_help)
    return make_help.help_page()


def test_the_page_is_what_the_commands_say(help_page: str) -> None:
    assert (DOCS / "help.md").read_text(encoding="utf-8") == help_page, REMEDY


def test_the_page_is_plain_text(help_page: str) -> None:
    """No colours: the same page on every terminal, in a pipe, and in a browser."""
    assert "\x1b" not in help_page
    assert all(len(line) <= 120 for line in help_page.splitlines())


@pytest.mark.parametrize("command", ["train", "runs compare", "tokenizer encode", "data inspect"])
def test_the_page_reaches_commands_below_commands(help_page: str, command: str) -> None:
    assert f"\n## glassgpt {command}\n\n```text\nUsage: glassgpt {command}" in help_page
