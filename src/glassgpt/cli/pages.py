"""The pages of docs/, which `glassgpt help PAGE` shows in the terminal: an installed package has no folder docs/.

They are written for a browser. Here a link names the command that shows its page, and a table that is too wide for the
window becomes a list of its rows.
"""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from rich.table import Table

from glassgpt.cli.terminal import make_console, prose_width
from glassgpt.commands import command
from glassgpt.errors import UsageError, did_you_mean

PLACES = (Path(__file__).parents[1] / "pages", Path(__file__).parents[3] / "docs")
"""Where the pages are: in a wheel, and in a checkout."""
LIST = "pages"
"""The word in place of a page that lists all."""
IN_A_FILE = 130
"""Columns of a page where the output is not a window: every line of code fits."""
LINK = re.compile(r"\[([^\]]+)\]\(([\w-]+)\.md[^)]*\)")
CELLS = re.compile(r"(?<!\\)\|")


def page_names() -> list[str]:
    """Return the names of all pages but those that this command replaces: the list of pages, and all commands' help."""
    names = sorted(path.stem for path in _folder().glob("*.md"))
    return [name for name in names if name not in ("README", "help")]


def help_(page: str) -> None:
    """Show a page of the documentation. For a command, show its options, as --help does.

    Args:
        page: The name of a page, or of a command. `pages` lists all pages, and `runs.md` is the page of that name.
    """
    from rich.markdown import Markdown

    from glassgpt.cli.main import COMMANDS

    console, name = make_console(), page.removesuffix(".md")
    if name == LIST:
        _list_pages(console)
        return
    if name not in page_names():
        hint = did_you_mean(name, [*COMMANDS, *page_names()])
        raise UsageError(
            f"There is neither a command nor a page {page!r}.{hint} All pages:  {command('help', LIST)}"
        )
    width = min(prose_width(console), IN_A_FILE)
    console.print(Markdown(for_terminal(_read(name), width), hyperlinks=False), width=width)


def _list_pages(console: Console) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in page_names():
        table.add_row(name, _read(name).partition("\n")[0].lstrip("# "))
    console.print(table)


def for_terminal(page: str, width: int) -> str:
    """Return a page with the commands of its links, and with tables that fit into `width` columns."""
    page = LINK.sub(lambda link: f"{link[1]} (`{command('help', link[2])}`)", page)
    lines, table, is_code = [], [], False
    for line in [*page.splitlines(), ""]:
        is_code ^= line.startswith("```")
        if line.startswith("|") and not is_code:
            table.append(line)
            continue
        if table:
            lines += _table(table, width)
            table = []
        lines.append(line)
    return "\n".join(lines)


def _table(rows: list[str], width: int) -> list[str]:
    """Return a table as it is, or as a list of its rows where it is too wide."""
    cells = [[cell.strip() for cell in CELLS.split(row)[1:-1]] for row in rows]
    longest = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    if sum(longest) + 2 * len(longest) <= width or len(rows) < 3:
        return rows
    titles, found = cells[0], []
    for row in cells[2:]:
        found.append(f"- **{row[0]}**")
        said = ((title, cell) for title, cell in zip(titles[1:], row[1:], strict=False) if cell)
        found += [f"  - {title}: {cell}" if title else f"  - {cell}" for title, cell in said]
    return found


def _read(name: str) -> str:
    return (_folder() / f"{name}.md").read_text(encoding="utf-8")


def _folder() -> Path:
    return next((place for place in PLACES if place.is_dir()), PLACES[0])  # of which a glob finds nothing
