"""What a command line means: short names of options, and those of other programs, become the full names.

An option may be given by the last part of its name, `--n-layer` for `--model.n-layer`, with underscores, or under a
name from another program (`elsewhere.py`). Cyclopts only sees full names. A word that means nothing here, or several
things, is answered here too, with names that this very command has. No command is imported except the one called, so
a slip is answered at once.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from cyclopts import App, ArgumentCollection, CycloptsError, MissingArgumentError, UnusedCliTokensError
from cyclopts.utils import is_option_like

from glassgpt.cli.elsewhere import COMMANDS, GUESSES
from glassgpt.cli.helping import HELP_ALL, positional
from glassgpt.cli.renamed import with_names_of_now
from glassgpt.commands import command, line_of
from glassgpt.errors import UsageError

HELP = ("--help", "-h", HELP_ALL)


def understood(app: App, arguments: Sequence[str], unlisted: Container[str] = ()) -> list[str]:
    """Return the words of a command line with each option under its full name. Raises `UsageError`.

    `unlisted` are names of commands that no answer should list.
    """
    words = with_names_of_now(_asking(app, arguments))
    end = len(before_texts(words))
    if asks_for_help(words):
        return words
    chain, apps, rest = app.parse_commands(words)
    here = apps[-1]
    if here.default_command is None:
        if rest:
            known = [name for name in here if not name.startswith("-") and name not in unlisted]
            raise UsageError(_no_command(known, chain, rest[0]))
        return words
    begin = len(words) - len(rest)
    if not any(is_option_like(word) for word in words[begin:end]):
        return words
    options = Options(" ".join(["glassgpt", *chain]), here.assemble_argument_collection())
    if options.any_word_is_text:
        return words
    given = words[begin:end]
    return [*words[:begin], *map(options.full, given, [*given[1:], ""]), *words[end:]]


def refusal(error: CycloptsError, arguments: Sequence[str]) -> UsageError:
    """Return in our words what cyclopts says about a command line that it could not read."""
    argument = error.argument
    if isinstance(error, UnusedCliTokensError) and error.app is not None and error.unused_tokens:
        return _left_over(error.app, error.command_chain or (), error.unused_tokens, arguments)
    if argument is None or type(error) is not MissingArgumentError:
        return UsageError(str(error))
    above = " ".join(["glassgpt", *(error.command_chain or ())])
    if error.keyword:
        return UsageError(f"{error.keyword} needs a value after it. What it may be:  {above} --help-all")
    name = argument.name if argument.index is None else argument.name.lstrip("-").upper()
    return UsageError(f"{above} needs {name}. What that is:  {above} --help")


def _left_over(app: App, chain: Sequence[str], extra: Sequence[str], arguments: Sequence[str]) -> UsageError:
    """Return what to do about words that a command does not take: one is a choice of an option, or they go."""
    above = " ".join(["glassgpt", *chain])
    words, place = list(arguments), len(arguments)
    for word in extra:
        if word in words:
            place = len(words) - 1 - words[::-1].index(word)
            del words[place]
    options = [
        argument
        for argument in app.assemble_argument_collection()
        if len(extra) == 1 and extra[0].lower() in (argument.get_choices() or ()) and argument.show
    ]
    if options:
        words[place:place] = [options[0].name, extra[0].lower()]
        return UsageError(f"{extra[0]} is a value of {options[0].name}. Did you mean:  {line_of(words)}")
    taken = [argument.name.lstrip("-").upper() for argument in positional(app)]
    what = f"only {' and '.join(taken)} before its options" if taken else "only options"
    return UsageError(f"{above} takes {what}. Without {' '.join(extra)!r}:  {line_of(words)}")


def asks_for_help(words: Sequence[str]) -> bool:
    """Return whether a command line asks for help, in short or in full."""
    return any(word in HELP for word in before_texts(words))


def before_texts(words: Sequence[str]) -> Sequence[str]:
    """Return the words before a `--`; those after it are never options."""
    return words[: words.index("--")] if "--" in words else words


def _asking(app: App, arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line; `version` becomes an option, and so does `help` for a command."""
    words = list(arguments)
    if words[:1] == ["help"] and (len(words) == 1 or words[1] in app):
        return [*words[1:], "--help"]
    return ["--version"] if words == ["version"] else words


def _no_command(known: Sequence[str], chain: Sequence[str], word: str) -> str:
    """Return what to do about a word that is no command."""
    above = " ".join(["glassgpt", *chain])
    listed = f" The commands are: {', '.join(known)}."
    if is_option_like(word):
        return f"{word} comes after a command: {above} COMMAND {word}.{listed}"
    if not chain and os.path.exists(word):  # noqa: PTH110 - any text may be given
        return f"There is no command {word!r}. To train on this text:  {command('train', word)}"
    if not chain and (answer := COMMANDS.get(word.lower().replace("_", "-"))):
        return f"There is no command {word!r}. {answer}"
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.65)
    guess = f" Did you mean `{above} {near[0]}`?" if near else listed
    return f"There is no command {word!r}.{guess}"


@dataclass(frozen=True)
class Options:
    """The options of one command."""

    command: str
    arguments: ArgumentCollection

    @property
    def any_word_is_text(self) -> bool:
        """Whether a text of this command may look like an option."""
        return any(argument.parameter.allow_leading_hyphen for argument in self.arguments)

    def full(self, word: str, following: str = "") -> str:
        """Return a word of the command line, its option by the full name. Raises `UsageError`.

        `following` is the word after it.
        """
        option, equals, value = word.partition("=")
        if not is_option_like(option) or self.has(option, value or following):
            return word
        if " " in option:
            raise UsageError(
                f"A text that begins with - goes after --, as in  {self.command} ... -- {word!r}"
            )
        found = self.meant(option)
        if len(found) > 1:
            raise UsageError(f"{option} has several meanings here: {_either(found)}. Give one of these.")
        if not found:
            raise UsageError(f"{self.command} has no option {option}. {self._nearest(option)}")
        return found[0] + equals + value

    def has(self, option: str, value: str = "") -> bool:
        """Return whether there is an option of exactly this name; a section such as `--model` only takes JSON."""
        try:
            argument = self.arguments.match(option)[0]
        except ValueError:
            return False
        return argument.show or (bool(argument.children) and value.startswith("{"))

    def meant(self, option: str) -> list[str]:
        """Return the full names of the options that a word may stand for. Raises `UsageError` with an answer."""
        name = option.lstrip("-").replace("_", "-").lower()
        for guess in (*GUESSES.get(name, ()), name):
            if " " not in guess:
                if found := self.named(guess):
                    return found
            elif answer := self._filled(guess):
                raise UsageError(f"{self.command} has no option {option}. {answer}")
        return []

    def named(self, name: str) -> list[str]:
        """Return the full names of the options with this name, or else with this last part of their name."""
        if any(full == f"--{name}" for names in self._names() for full in names):
            return [f"--{name}"]
        return [full for names in self._names() for full in names if full.endswith(f".{name}")]

    def _names(self) -> Iterable[list[str]]:
        for argument in self.arguments:
            if argument.show:
                yield [name for name in argument.names if name.startswith("--")]

    def _filled(self, sentence: str) -> str:
        """Return an answer with the full names of its options; "" if one of them is not here."""
        names = {name: self.named(name) for name in re.findall(r"{(.+?)}", sentence)}
        if not all(names.values()):
            return ""
        return re.sub(r"{(.+?)}", lambda match: _either(names[match[1]]), sentence)

    def _nearest(self, option: str) -> str:
        """Return which option is most like one that is not here, or where all are listed."""
        name = option.lstrip("-").replace("_", "-").lower()
        by_name = {part: full for names in self._names() for full in names for part in _parts(full)}
        last = name.rpartition(".")[2]
        near = self.named(last) if last != name else []
        near = near or [by_name[part] for part in difflib.get_close_matches(name, by_name, n=1, cutoff=0.7)]
        if near:
            return f"Did you mean {_either(near)}?"
        return f"All its options:  {self.command} --help-all"


def _parts(full: str) -> list[str]:
    name = full.removeprefix("--")
    return [name, name.rpartition(".")[2]]


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
