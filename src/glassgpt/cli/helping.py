"""How help looks: only what most people need, unless all is asked for, and readable in a narrow window.

`--help` of a command with many settings shows those without a dot in their name and a few others; `--help-all` shows
every one. This module imports almost nothing, because commands name their formatter when they are imported.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts import App, Argument
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

HELP_ALL = "--help-all"
NARROW = 80
"""Columns. In a narrower window, a description stands below its option and not beside it."""


@dataclass(frozen=True)
class Help:
    """Prints help. With `settings`, only options without a dot in their name, these, and how many there are beside."""

    settings: tuple[str, ...] | None = None

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one panel."""
        from cyclopts.help.formatters import DefaultFormatter
        from cyclopts.help.specs import ColumnSpec

        shown = [entry.copy(default=_worth(entry.default)) for entry in panel.entries if self._shows(entry)]
        below = panel.format == "parameter" and console.width < NARROW
        columns = (ColumnSpec(renderer=_stacked),) if below else None
        DefaultFormatter(column_specs=columns)(console, options, panel.copy(entries=shown))
        if self.settings and len(shown) < len(panel.entries):
            console.print(
                f"{HELP_ALL} shows {len(panel.entries) - len(shown)} more. The last part of a name is enough where "
                f"only one option has it: --{self.settings[0].rpartition('.')[2]}"
            )

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print how the command is called."""
        from cyclopts.help.formatters import DefaultFormatter

        DefaultFormatter().render_usage(console, options, usage)

    def _shows(self, entry: HelpEntry) -> bool:
        name = entry.positive_names[0] if entry.positive_names else ""
        return self.settings is None or "." not in name or name in self.settings


def print_everything(app: App, words: Sequence[str]) -> None:
    """Print the help of the command that some words name, with all its options."""
    name_arguments(app, words)
    with app.app_stack(list(words), {"help_formatter": Help()}):
        app.help_print(list(words))


def name_arguments(app: App, words: Sequence[str]) -> None:
    """Let the usage line of the command that some words name show its arguments by name, not as ARGS."""
    from cyclopts.help.help import format_usage

    named = [
        word for word in words if word not in (*app.help_flags, HELP_ALL)
    ]  # cyclopts takes them as commands
    chain, apps, _ = app.parse_commands(named)
    here = apps[-1]
    if here.default_command is None:
        return
    names = [
        f"[{argument.name.lstrip('-').upper()}{'...' * _takes_many(argument)}]"
        for argument in positional(here)
        if not argument.required
    ]
    usage = str(format_usage(app, chain, execution_path=apps)).rstrip()
    usage = usage.removesuffix(" [ARGS...]").removesuffix(" [ARGS]")
    here.usage = f"Usage: {' '.join([usage, *names])}"


def positional(app: App) -> list[Argument]:
    """Return what a command takes by position."""
    return [
        argument
        for argument in app.assemble_argument_collection()
        if argument.show and (argument.index is not None or _takes_many(argument))
    ]


def _takes_many(argument: Argument) -> bool:
    return argument.field_info.kind == argument.field_info.VAR_POSITIONAL


def _worth(default: str | None) -> str | None:
    """Return a default as it would be typed. An empty list says nothing, so it is not shown."""
    if default is None or not default.startswith("("):
        return default
    return ", ".join(map(str, ast.literal_eval(default))) or None


def _stacked(entry: HelpEntry) -> Any:
    """Return an option with its description below it."""
    from cyclopts.help.specs import DescriptionRenderer
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    names = Text(" ".join(entry.display_labels_with_metavar), style="cyclopts.name")
    return Group(names, Padding(DescriptionRenderer()(entry), (0, 0, 0, 4)))
