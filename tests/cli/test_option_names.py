"""Over all commands one meaning has one name, and one name has one meaning: found by walking the command line."""

from __future__ import annotations

import types
import typing
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from glassgpt.cli.main import COMMANDS, make_app
from glassgpt.cli.renamed import RENAMED, with_names_of_now

A_PLACE = "a run, as what this command uses it for"
OF_THE_KIND = "the same setting, told in the words of this kind of training"
MORE_MEANINGS = {
    "--run": A_PLACE,
    "DATA": "the records or texts that this kind learns from",
    "SOURCES": "text, as what this command uses it for",
    "--corpus.sources": "the text of a run: to begin it, or where it is now",
    "--output": "the file or folder that this command makes",
    "--force": "whether it may overwrite, and what is overwritten without it",
    "--name": "the name of the run that is made, and what it is made from by default",
    "--minutes": "minutes for everything, and what is fitted to them",
    "--tokenizer": "a tokenizer, as what this command uses it for",
    "--text-field": "classify finds it by its usual names, too",
    "--max-tokens": "the most tokens of what this command writes",
    "--seed": "what is drawn by it",
    "--device": "resume says what it takes when none is named",
    "--samples.count": "what a sample is in this kind",
    "--samples.max-tokens": "what a sample is in this kind",
    "--samples.seed": "train says that each evaluation draws the same",
    "--training.batch-size": OF_THE_KIND,
    "--training.epochs": OF_THE_KIND,
    "--training.evaluate-every": OF_THE_KIND,
    "--training.final-weights": OF_THE_KIND,
    "--training.learning-rate": OF_THE_KIND,
    "--training.sample-every": OF_THE_KIND,
    "--preset": "train adds what the recipe gives",
    # Two meanings indeed.
    "--json": "doctor has no results to keep: it prints a report, and a flag turns that into JSON",
    "--text": "the positional text of `tokenizer encode`; `tokenizer compare` takes a source",
    "--temperature": "the papers' word for two things: of what is drawn, and of the teacher's distribution",
    "--beta": "the papers' letter in both DPO and GRPO",
}
"""Names whose description or type differs between commands, and why they may."""
MORE_NAMES = {
    frozenset(
        {"SOURCES", "--corpus.sources"}
    ): "train takes its text by position or as a setting of its config",
    frozenset(
        {"--text-field", "--corpus.text-field"}
    ): "the setting of the config, and its short form in all commands",
    frozenset(
        {"--tokenizer.kind", "--kind"}
    ): "`tokenizer train` is the section: its options are the settings in it",
    frozenset({"--tokenizer.pattern", "--pattern"}): "the same",
    frozenset({"--samples.top-k", "--top-k"}): "samples of a training are a section of its config",
    frozenset(
        {"--samples.max-tokens", "--max-tokens"}
    ): "the answers of GRPO are what it learns from, not samples",
}
"""Names that share a description, and why they are not one."""


def options(app: App, above: tuple[str, ...] = ()) -> Iterator[tuple[str, str, str]]:
    """Yield (name, description, type) of each option and argument that help lists, command by command."""
    for name in app:
        if name.startswith("-") or not app[name].show:
            continue
        yield from options(app[name], (*above, name))
        if app[name].default_command is None:
            continue
        for argument in app[name].assemble_argument_collection(parse_docstring=True):
            if argument.show:
                described = " ".join(str(argument.parameter.help or "").split())
                yield argument.name, described, kind_of(argument.hint)


def kind_of(hint: Any) -> str:
    """Return a type as text, without the None of an option that may be left out."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(sorted(kind_of(part) for part in typing.get_args(hint) if part is not type(None)))
    return getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)


def grouped(by_name: bool) -> dict[str, set[Any]]:
    found: dict[str, set[Any]] = defaultdict(set)
    for name, described, kind in options(make_app()):
        if by_name:
            found[name].add((described, kind))
        else:
            found[described].add(name)
    return found


def test_the_options_are_found() -> None:
    found = grouped(by_name=True)
    assert len(found) > 150
    assert "" not in grouped(by_name=False), "an option has no description"
    assert {"--output", "--training.steps", "SOURCES", "--corpus.text-field"} <= set(found)
    assert found["--output"] >= {("The picture to write; it replaces an earlier comparison.", "Path")}


def test_one_meaning_has_one_name() -> None:
    several = {frozenset(names): text for text, names in grouped(by_name=False).items() if len(names) > 1}
    unexplained = {text: sorted(names) for names, text in several.items() if names not in MORE_NAMES}
    assert not unexplained, "give these options one name, and put the earlier one into cli/renamed.py"
    assert set(MORE_NAMES) <= set(several), "an exception is no longer needed"


def test_one_name_has_one_meaning() -> None:
    several = {name: meanings for name, meanings in grouped(by_name=True).items() if len(meanings) > 1}
    unexplained = {name: sorted(several[name]) for name in several if name not in MORE_MEANINGS}
    assert not unexplained, "describe these options in the same words, or rename one of them"
    assert set(MORE_MEANINGS) <= set(several), "an exception is no longer needed"


@pytest.mark.parametrize(("command", "earlier", "now"), [
    (command, earlier, now) for command, names in RENAMED.items() for earlier, now in names.items()
])  # fmt: skip
def test_an_earlier_name_is_understood_and_not_listed(
    command: tuple[str, ...], earlier: str, now: str, glassgpt: Any
) -> None:
    line = [*command, "x", earlier, "a=b", f"{earlier}=c"]
    assert with_names_of_now(line) == [*command, "x", now, "a=b", f"{now}=c"]
    assert with_names_of_now([*command, "--", earlier]) == [*command, "--", earlier]
    words = glassgpt(*command, "--help").output.split()
    assert now in words
    assert earlier not in words


def test_other_commands_keep_such_a_word() -> None:
    line = ["generate", "small", "--out", "--seed", "1"]
    assert with_names_of_now(line) == line
    assert {command[0] for command in RENAMED} <= set(COMMANDS)


def test_earlier_names_work(glassgpt: Any, workplace: Path) -> None:
    done = glassgpt("tokenizer", "train", "text.txt", "--out", "a.json", "--vocab-size=270")
    assert done.status == 0, done.errors
    assert Path("a.json").is_file()
    done = glassgpt("runs", "compare", "small", "small", "--out=a.png")
    assert done.status == 0, done.errors
    assert Path("a.png").is_file()
    old = glassgpt(
        "data", "inspect", "text.txt", "--clean", "off", "--validation=0.2", "--test", "0.1", "--seed=3"
    )
    now = glassgpt("data", "inspect", "text.txt", "--cleaning.mode", "off", "--split.validation=0.2",
                   "--split.test", "0.1", "--split.seed=3")  # fmt: skip
    assert old.status == 0, old.errors
    assert old.output == now.output
    assert glassgpt("model", "--name", "nano").output == glassgpt("model", "nano").output
