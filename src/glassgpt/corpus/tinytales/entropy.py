"""The exact entropy of the stories, and the proof that the text determines every choice.

The entropy of a grammar is the average of -log2 p over its stories. No language model can beat it: its
loss in bits per story is at least this, whatever its tokens are. There are far too many stories to list
(about 2^50), but the chain rule needs no list: the bits still to come depend only on the rules ahead and
on the few earlier values that those rules *read*. Names, colours and other values that are only printed
again drop out, so a few hundred situations, each computed once, give the exact sum.

This is the entropy of the choices. It is also the entropy of the text, because stories with different
choices are always different texts: at every choice, no option's beginning is a prefix of another's, so the
text shows which one was taken. `ambiguities` checks this at every menu.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from typing import Any

from glassgpt.corpus.tinytales.grammar import Choice, Context, Grammar, Mention, Menu, Option

Known = frozenset[tuple[Mention, str]]
Readings = tuple[frozenset[str], ...]


def entropy_of(grammar: Grammar) -> float:
    """Return the exact entropy of one story in bits (chain rule, each situation computed once)."""

    @cache
    def bits_ahead(ahead: tuple[str, ...], known: Known) -> float:
        if not ahead:
            return 0.0
        rule = grammar.rules[ahead[0]]
        menu = rule.menus[dict(known)[rule.reads] if rule.reads else None]
        total = 0.0
        for option, probability, bits in zip(menu.options, menu.probabilities, menu.bits, strict=True):
            following = option.choices + ahead[1:]
            needed = frozenset().union(*map(reads_within, following))
            total += probability * (bits + bits_ahead(following, learn(menu, option, known, needed)))
        return total

    @cache
    def reads_within(name: str) -> frozenset[Mention]:
        rule = grammar.rules[name]
        inner = {
            choice for menu in rule.menus.values() for option in menu.options for choice in option.choices
        }
        own = frozenset([rule.reads] if rule.reads else [])
        return own.union(*map(reads_within, inner))

    return bits_ahead((grammar.start,), frozenset())


def learn(menu: Menu, option: Option, known: Known, needed: frozenset[Mention]) -> Known:
    """Return the values known after `option`, without those that no rule ahead reads."""
    kept = {(path, text) for path, text in known if path in needed}
    if option.value is None:
        return frozenset(kept)
    kept = {(path, text) for path, text in kept if path.variable != menu.binds}
    new = {path for path in needed if path.variable == menu.binds}
    return frozenset(kept | {(path, path.look_up({menu.binds: option.value})) for path in new})


def ambiguities(grammar: Grammar) -> list[str]:
    """Return a line for each pair of options where one could begin like the other.

    An empty list proves that text and choices are one-to-one. The check is stricter than necessary: a mention
    may print any value that its variable can have anywhere.
    """
    values = values_bound(grammar)
    return [
        f"{name}[{key}]: {one.text!r} can begin like {other.text!r}"
        for name, rule in grammar.rules.items()
        for key, menu in rule.menus.items()
        for one, other in combinations(menu.options, 2)
        if alike(readings(menu, one, values), readings(menu, other, values))
    ]


def alike(one: Readings, other: Readings, ahead: str = "") -> bool:
    """Return whether some text of `one` and some text of `other` are equal, or one is a prefix of the other.

    `ahead` is text that `one` has already printed and `other` must still match.
    """
    if not ahead:
        return not one or not other or any(alike(one[1:], other, text) for text in one[0])
    if not other:
        return True
    return any(
        alike(one, other[1:], ahead[len(text) :])
        if ahead.startswith(text)
        else text.startswith(ahead) and alike(other[1:], one, text[len(ahead) :])
        for text in other[0]
    )


def readings(menu: Menu, option: Option, values: dict[str, list[Any]]) -> Readings:
    """Return, for each piece of an option before its first inner choice, every text that it can print."""
    own = {} if option.value is None else {menu.binds: [option.value]}
    known = {**values, **own}
    return tuple(
        frozenset([piece] if isinstance(piece, str) else possible(piece, known[piece.variable]))
        for piece in option.lead_pieces
    )


def possible(path: Mention, values: list[Any]) -> Iterator[str]:
    """Yield the text of a mention for each value; a value without the attribute can never occur there."""
    for value in values:
        if path.attribute is None or hasattr(value, path.attribute.lower()):
            yield path.look_up({path.variable: value})


def values_bound(grammar: Grammar) -> dict[str, list[Any]]:
    """Return all values that each variable can be bound to anywhere."""
    values: dict[str, list[Any]] = defaultdict(list)
    for rule in grammar.rules.values():
        for menu in rule.menus.values():
            values[menu.binds] += [option.value for option in menu.options if option.value is not None]
    return values


def all_choices(grammar: Grammar) -> Iterator[tuple[int, ...]]:
    """Yield the choices of every story: only for small grammars, because the count is a product."""
    yield from _continue(grammar, (Choice(grammar.start),), {}, ())


def _continue(
    grammar: Grammar, ahead: tuple, context: Context, made: tuple[int, ...]
) -> Iterator[tuple[int, ...]]:
    """Yield every completion of the choices made so far. (Pieces that are not choices are ignored.)"""
    if not ahead:
        yield made
        return
    menu = grammar.rules[ahead[0].rule].menu(context)
    for index, option in enumerate(menu.options):
        inner = tuple(piece for piece in option.pieces if isinstance(piece, Choice))
        step = made if len(menu.options) == 1 else (*made, index)
        yield from _continue(grammar, inner + ahead[1:], menu.bound(option, context), step)
