"""The settings that the command line names, passed to commands in a hidden parameter `given`.

Fitting, plans and recipes leave these settings as they are, and a setting that nothing reads is refused
(`glassgpt.idle`).
"""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from glassgpt.errors import MisplacedWordError

Given = Annotated[tuple[str, ...], Parameter(show=False)]


def names_given(arguments: ArgumentCollection) -> list[str]:
    """Return the settings that the command line names, such as "training.steps" or "top_k"."""
    return [argument.name.removeprefix("--").replace("-", "_") for argument in arguments if argument.tokens]


def note_given(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Pass the command the settings that the command line names, if it has a parameter `given`."""
    if not any(argument.name == "--given" for argument in arguments):
        return
    fill_in(app, commands, arguments, {"given": names_given(arguments)}, source="the command line")


def fill_in(
    app: App, commands: tuple[str, ...], arguments: ArgumentCollection, values: dict[str, Any], *, source: str
) -> None:
    """Give the parameters of a command the values that they do not have yet."""
    # Keyed by the command, because a flat Dict treats sections with the name of a command (model, tokenizer) as
    # settings of that command and ignores them.
    for command in reversed(commands):
        values = {command: values}
    Dict(values, source=source)(app, commands, arguments)


def refuse_misplaced(run: str, *text: str, most: int) -> None:
    """Raise `MisplacedWordError` for text in place of a run, or for more words after the run than a command takes."""
    from glassgpt.runs.directory import find_run

    text = tuple(filter(None, text))
    try:
        find_run(run)
    except MisplacedWordError as error:
        raise error.followed_by(*text) from None
    if len(text) > most:
        fact = (
            "A prompt of several words needs quotes around it:"
            if most
            else "What you say is typed when it asks:"
        )
        raise MisplacedWordError(fact, "", words=(run, *text))
