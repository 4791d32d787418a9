"""Advice names pages that a person can open wherever the package is installed: `glassgpt help PAGE`."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from glassgpt.cli.pages import PLACES, for_terminal, page_names
from tests.cli.conftest import Command
from tests.docs.test_docs_commands import INLINE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("name", page_names())
def test_every_page_is_shown_and_fits_the_window(
    glassgpt: Command, monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = glassgpt("help", f"{name}.md")
    assert shown.status == 0
    assert (ROOT / f"docs/{name}.md").read_text().partition("\n")[0].lstrip("# ")[:20] in shown.output
    assert all(len(line) <= width for line in shown.output.splitlines())


def test_a_command_of_the_same_name_comes_first(glassgpt: Command) -> None:
    assert "Usage: glassgpt runs" in glassgpt("help", "runs").output
    assert "What a training leaves behind" in glassgpt("help", "runs.md").output.replace("what", "What")
    listed = glassgpt("help", "pages").output
    assert all(name in listed for name in ("why-is-it-bad", "your-own-text"))
    wrong = glassgpt("help", "why-is-it-bed")
    assert wrong.status == 2
    assert "Did you mean why-is-it-bad?" in wrong.errors
    assert "glassgpt help pages" in wrong.errors
    assert "Did you mean train" in glassgpt("help", "trian").errors


def test_links_become_commands_and_wide_tables_lists() -> None:
    page = (
        "See [the plan](planning.md#speed).\n\n| a | b |\n| - | - |\n| one | "
        + "word " * 20
        + "|\n\n```\n| a |\n```"
    )
    narrow = for_terminal(page, 60)
    assert "the plan (`glassgpt help planning`)" in narrow
    assert "- **one**\n  - b: word" in narrow
    assert narrow.endswith("```\n| a |\n```\n")
    assert "| one | word" in for_terminal(page, 200)


def test_no_message_names_a_file_that_only_a_checkout_has() -> None:
    """The verdict named docs/why-is-it-bad.md, which an installed package does not have."""
    for path in (ROOT / "src").rglob("*.py"):
        strings = re.findall(
            r'^(?!.*""").*".*docs/[\w-]+\.md.*"', path.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert not strings, (path, strings)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert (ROOT / "src" / wheel["force-include"]["docs"]) == PLACES[0]


def test_the_commands_that_show_a_cause_run(glassgpt: Command, longer_workplace: Path) -> None:
    """`help why-is-it-bad` sends a person from what they see to a command: each works beside a run."""
    (longer_workplace / "my-texts").mkdir()
    (longer_workplace / "my-texts/one.txt").write_text("A cat sat on the mat, and a dog barked.\n" * 20)
    found = INLINE.findall((ROOT / "docs/why-is-it-bad.md").read_text(encoding="utf-8"))
    assert len(set(found)) >= 4
    for line in dict.fromkeys(found):
        done = glassgpt(*shlex.split(line)[1:])
        assert done.status == 0, (line, done.errors)
        assert done.output.strip(), line
