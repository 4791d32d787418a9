"""Write `docs/help.md`: the `--help-all` of every command, taken from the commands themselves.

    .venv/bin/python docs/make_help.py

A test writes the page again and compares, so that it cannot fall behind the commands.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from rich.console import Console

from glassgpt.cli.helping import print_everything
from glassgpt.cli.main import make_app

PAGE = Path(__file__).with_name("help.md")
WIDTH = 100
HEAD = """# Every command and its options

This page is written by `docs/make_help.py` (`make docs`) from the commands themselves. Change it there.
The same text is shown by `glassgpt COMMAND --help-all`; `--help` shows what most people need.
"""


def help_page() -> str:
    """Return the whole page."""
    app = make_app()
    sections = [f"## {' '.join(['glassgpt', *path])}\n\n{_help(app, path)}" for path in _paths(app)]
    return "\n".join([HEAD, *sections])


def _paths(app: App, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that lead to each command, a command before those below it."""
    yield above
    for name in app:
        if not name.startswith("-") and app[name].show:
            yield from _paths(app[name], (*above, name))


def _help(app: App, path: tuple[str, ...]) -> str:
    """Return the help of one command as a block of plain text."""
    page = io.StringIO()
    with app.app_stack(
        [], {"_console": Console(file=page, width=WIDTH, force_terminal=False, color_system=None)}
    ):
        print_everything(app, path)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    return "```text\n" + "\n".join(lines).strip() + "\n```\n"


if __name__ == "__main__":
    PAGE.write_text(help_page(), encoding="utf-8")
