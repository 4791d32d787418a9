"""Every command and option that a message prints exists: found in the source, checked against the command line.

Messages once advised options that the command at hand did not have. Literal text is read from the syntax tree, with X
for what is filled in; what `commands.command` builds is read from its calls.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cyclopts import App

import glassgpt
from glassgpt.cli.main import make_app
from glassgpt.cli.renamed import RENAMED

PACKAGE = Path(glassgpt.__path__[0])
MODULES = sorted(PACKAGE.rglob("*.py"))
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*")
COMMAND = re.compile(r"(?<![\w/'\[-])glassgpt ((?:[a-z]+ ?)+)([^`\n]*)")
OF_OTHER_PROGRAMS = {"--local-dir", "--nproc-per-node"}


@cache
def options() -> dict[tuple[str, ...], set[str]]:
    """Return the options of each command, including its aliases."""
    return dict(_options(make_app()))


def _options(app: App, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    for name in app:
        if name.startswith("-"):
            continue
        command = (*above, name)
        yield from _options(app[name], command)
        names = {"--help", "--help-all"}
        if app[name].default_command is not None:
            for argument in app[name].assemble_argument_collection():
                names |= set(argument.names)
        yield command, names


def literals(path: Path) -> Iterator[str]:
    """Yield each string of a module that is not a docstring, adjacent ones joined as in Python."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    descriptions = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in descriptions | inside
        ):
            yield node.value


def longest_command(words: list[str]) -> tuple[str, ...]:
    """Return the command that some words begin with, () for none."""
    return next((tuple(words[:n]) for n in (2, 1) if tuple(words[:n]) in options()), ())


def one_of(command: tuple[str, ...]) -> list[set[str]]:
    """Return the options of a command; of a group such as `finetune`, those of each command in it."""
    size = len(command)
    below = [names for words, names in options().items() if len(words) > size and words[:size] == command]
    return below or [options()[command]]


def test_the_command_line_is_found() -> None:
    assert {"--training.steps", "--minutes", "--corpus.text-field"} <= options()["train",]
    assert "--lora.rank" in options()["finetune", "sft"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_printed_option_exists(path: Path) -> None:
    known = set().union(*options().values()) | OF_OTHER_PROGRAMS
    known |= {name.removesuffix("s") for name in known}
    if path.parent.name == "cli":
        known.add("--version")
    if path.name == "renamed.py":  # which reads earlier names, and prints none
        known |= {earlier for names in RENAMED.values() for earlier in names}
    for text in literals(path):
        for option in OPTION.findall(text):
            assert option in known, (option, text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_printed_command_exists_with_its_options(path: Path) -> None:
    for text in literals(path):
        for words, rest in COMMAND.findall(text):
            command = longest_command(words.split())
            assert command, (words, text)
            for option in OPTION.findall(rest.partition("  ")[0]):
                assert option in options()[command], (command, option, text)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_command_that_is_built_exists_with_its_options(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "command"):
            continue
        words = [word.value for word in node.args if isinstance(word, ast.Constant)]
        command = longest_command([str(word) for word in words])
        if not node.args or not isinstance(node.args[0], ast.Constant):
            continue  # the command itself is decided elsewhere
        assert command, ast.unparse(node)
        for keyword in node.keywords:
            if keyword.arg is not None:
                option = f"--{keyword.arg.replace('_', '-')}"
                assert all(option in known for known in one_of(command)), (option, ast.unparse(node))
            elif isinstance(keyword.value, ast.Dict):
                for key in keyword.value.keys:
                    assert isinstance(key, ast.Constant)
                    assert all(f"--{key.value}" in known for known in one_of(command)), ast.unparse(node)
