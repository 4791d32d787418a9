"""The machinery of the story world: weighted rules with memory, and one walk for every use.

A *rule* is a point where the story can continue in several ways. Each *option* is a text with two kinds of
marks: `[rule]` makes another choice at this place, and `{hero.he}` prints something that was chosen
before (`{hero.He}` with a capital). An option may bind a value to the rule's variable, and a rule may
read one earlier value, which selects the *menu* of options it offers. So a kite can be flown but not
kicked, and a fox called Ruby stays "she" to the end.

The walk (`tell`) is written once. A *teller* decides what happens at a choice: one draws at random, one
repeats recorded choices, one reads a finished text. So probability, text and parse never disagree about
the grammar. This module contains no words of the stories.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

Context = dict[str, Any]

MARK = re.compile(r"\[(?P<rule>\w+)\]|\{(?P<variable>\w+)(?:\.(?P<attribute>\w+))?\}")


@dataclass(frozen=True, slots=True)
class Mention:
    """Something chosen earlier: a variable, or one attribute of it. `He` prints `he` with a capital."""

    variable: str
    attribute: str | None = None

    def look_up(self, context: Mapping[str, Any]) -> str:
        """Return the text of this mention in a context that binds its variable."""
        value = context[self.variable]
        if self.attribute is None:
            return str(value)
        if self.attribute[0].isupper():
            return getattr(value, self.attribute.lower()).capitalize()
        return getattr(value, self.attribute)


@dataclass(frozen=True, slots=True)
class Choice:
    """A place inside an option's text where the named rule chooses."""

    rule: str


Piece = str | Mention | Choice


def mention(path: str) -> Mention:
    """Read "hero.he" or "thing" as a mention."""
    variable, _, attribute = path.partition(".")
    return Mention(variable, attribute or None)


def read_marks(text: str) -> tuple[Piece, ...]:
    """Split an option's text into literal texts, mentions and choices, in order."""
    pieces: list[Piece] = []
    end = 0
    for mark in MARK.finditer(text):
        pieces.append(text[end : mark.start()])
        rule, variable, attribute = mark["rule"], mark["variable"], mark["attribute"]
        pieces.append(Choice(rule) if rule else Mention(variable, attribute))
        end = mark.end()
    return tuple(piece for piece in (*pieces, text[end:]) if piece != "")


@dataclass(frozen=True)
class Option:
    """One way to continue: a text with marks, its relative weight, and the value it binds, if any."""

    text: str
    weight: int = 1
    value: Any = None

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """The text, split at its marks."""
        return read_marks(self.text)

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The rules that choose inside this option, in order."""
        return tuple(piece.rule for piece in self.pieces if isinstance(piece, Choice))

    @cached_property
    def lead_pieces(self) -> tuple[str | Mention, ...]:
        """The pieces before the first inner choice, which identify this option when reading."""
        lead: list[str | Mention] = []
        for piece in self.pieces:
            if isinstance(piece, Choice):
                break
            lead.append(piece)
        return tuple(lead)


@dataclass(frozen=True)
class Menu:
    """The options of a rule in one situation. `binds` is the variable that gets the chosen value."""

    binds: str
    options: tuple[Option, ...]

    @cached_property
    def cumulative(self) -> tuple[int, ...]:
        """Running sums of the weights; the last one is their total."""
        return tuple(accumulate(option.weight for option in self.options))

    @cached_property
    def probabilities(self) -> tuple[float, ...]:
        """The probability of each option."""
        return tuple(option.weight / self.cumulative[-1] for option in self.options)

    @cached_property
    def bits(self) -> tuple[float, ...]:
        """The cost of each option: -log2 of its probability."""
        return tuple(math.log2(self.cumulative[-1] / option.weight) for option in self.options)

    def leads(self, context: Context) -> list[str]:
        """Return the text with which each option begins in this context, up to its first inner choice."""
        return [
            "".join(
                piece if isinstance(piece, str) else piece.look_up(self.bound(option, context))
                for piece in option.lead_pieces
            )
            for option in self.options
        ]

    def bound(self, option: Option, context: Context) -> Context:
        """Return the context after `option` is chosen."""
        return context if option.value is None else {**context, self.binds: option.value}


@dataclass(frozen=True)
class Rule:
    """A named choice. `menus` maps the text of `reads` (None for a rule that reads nothing) to a menu."""

    name: str
    menus: Mapping[str | None, Menu]
    reads: Mention | None = None

    def menu(self, context: Context) -> Menu:
        """Return the options in this context."""
        return self.menus[self.reads.look_up(context) if self.reads else None]


def rule(name: str, *options: str | Option, binds: str | None = None) -> Rule:
    """Make a rule that always offers the same options."""
    return Rule(name, {None: make_menu(binds or name, options)})


def rule_by(
    name: str, reads: str, menus: Mapping[str, Iterable[str | Option]], binds: str | None = None
) -> Rule:
    """Make a rule whose menu depends on the text of one earlier choice, such as "thing" or "helper.skill"."""
    table: dict[str | None, Menu] = {key: make_menu(binds or name, options) for key, options in menus.items()}
    return Rule(name, table, mention(reads))


def make_menu(binds: str, options: Iterable[str | Option]) -> Menu:
    """Make a menu; a plain string is an option of weight 1 that binds nothing."""
    return Menu(binds, tuple(Option(option) if isinstance(option, str) else option for option in options))


def valued(text: str, values: Mapping[Any, int] | Iterable[Any]) -> tuple[Option, ...]:
    """Make an option for each value, all with the same text; a mapping gives the weights."""
    weights = values if isinstance(values, Mapping) else dict.fromkeys(values, 1)
    return tuple(Option(text, weight, value) for value, weight in weights.items())


def weighted(words: str) -> tuple[Option, ...]:
    """Make options from words and weights in one string: "sunny 3 windy 2"."""
    row = words.split()
    return tuple(Option(word, int(weight)) for word, weight in zip(row[::2], row[1::2], strict=True))


@dataclass(frozen=True)
class Grammar:
    """Rules by name, and the one that begins a story."""

    rules: Mapping[str, Rule]
    start: str

    @classmethod
    def of(cls, start: str, rules: Iterable[Rule]) -> Grammar:
        """Collect rules under their names."""
        return cls({rule.name: rule for rule in rules}, start)


class Teller(Protocol):
    """Makes each choice for `tell`, and receives each piece of text."""

    def choose(self, menu: Menu, context: Context) -> int:
        """Return the index of the option to take. Called only if there is more than one."""
        ...

    def say(self, text: str) -> None:
        """Receive the next piece of the story."""
        ...


def tell(grammar: Grammar, teller: Teller) -> None:
    """Walk through one story from left to right, with the teller making each choice."""
    context: Context = {}
    ahead: list[Piece] = [Choice(grammar.start)]
    while ahead:
        piece = ahead.pop()
        if isinstance(piece, str):
            teller.say(piece)
        elif isinstance(piece, Mention):
            teller.say(piece.look_up(context))
        else:
            menu = grammar.rules[piece.rule].menu(context)
            index = teller.choose(menu, context) if len(menu.options) > 1 else 0
            option = menu.options[index]
            if option.value is not None:
                context[menu.binds] = option.value
            ahead.extend(reversed(option.pieces))


class Replay:
    """A teller that repeats recorded choices and keeps the text and its cost in bits."""

    def __init__(self, choices: Iterable[int]):
        self.ahead = iter(choices)
        self.bits = 0.0
        self.spoken: list[str] = []

    def choose(self, menu: Menu, context: Context) -> int:  # noqa: ARG002
        """Take the next recorded choice."""
        index = next(self.ahead)
        self.bits += menu.bits[index]
        return index

    def say(self, text: str) -> None:
        """Keep the text."""
        self.spoken.append(text)


def replay(grammar: Grammar, choices: Iterable[int]) -> tuple[str, float]:
    """Return the story made by these choices, and its -log2 probability."""
    teller = Replay(choices)
    tell(grammar, teller)
    return "".join(teller.spoken), teller.bits
