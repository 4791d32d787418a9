"""How much a story can surprise, computed exactly; and the proof that the text tells every choice.

The entropy of a grammar is the average of -log2 p over its stories, which no language model can beat:
its loss in bits per story is at least this, whatever its tokens are. There are far too many stories to
list them (about 2^50), but the chain rule needs no list: the bits still to come depend only on which
rules lie ahead and on the few earlier values that those rules *read*. Names, colours and whatever else is
merely printed again drop out, so that a few hundred situations, each computed once, give the exact sum.

This is the entropy of the choices. It is also the entropy of the text, because two stories with different
choices never read the same: at every choice the options begin with texts of which none is the beginning of
another, so a reader always sees which one was taken. `ambiguities` checks that at every menu.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import combinations, product
from typing import Any

from glassgpt.corpus.tinytales.grammar import Choice, Context, Grammar, Mention, Menu, Option

Known = frozenset[tuple[Mention, str]]


def entropy_of(grammar: Grammar) -> float:
    """Return the exact entropy of one story in bits (chain rule, each situation once)."""

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
    """Return what is known after `option`, forgetting all that no rule ahead reads."""
    kept = {(path, text) for path, text in known if path in needed}
    if option.value is None:
        return frozenset(kept)
    kept = {(path, text) for path, text in kept if path.variable != menu.binds}
    new = {path for path in needed if path.variable == menu.binds}
    return frozenset(kept | {(path, path.look_up({menu.binds: option.value})) for path in new})


def ambiguities(grammar: Grammar) -> list[str]:
    """Return a line for every pair of options of which one could begin like the other. Empty: text is one-to-one.

    Every menu is checked in every context that could matter: all combinations of the values that the
    mentions in its options' beginnings can have, reachable or not.
    """
    return [
        f"{name}[{key}]: {one!r} begins {other!r}"
        for name, rule in grammar.rules.items()
        for key, menu in rule.menus.items()
        if len(menu.options) > 1
        for context in contexts_of(menu, values_bound(grammar))
        for one, other in overlapping(menu.leads(context))
    ]


def overlapping(texts: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each pair of texts of which the first is a beginning of the second."""
    for one, other in combinations(texts, 2):
        short, long = sorted((one, other), key=len)
        if long.startswith(short):
            yield short, long


def contexts_of(menu: Menu, values: dict[str, list[Any]]) -> Iterator[Context]:
    """Yield contexts that show the options' beginnings in every combination of the texts they mention."""
    mentions: dict[str, set[Mention]] = defaultdict(set)
    for option in menu.options:
        for piece in option.lead_pieces:
            if isinstance(piece, Mention) and not (piece.variable == menu.binds and option.value is not None):
                mentions[piece.variable].add(piece)
    distinct = [distinct_in(values[variable], paths) for variable, paths in mentions.items()]
    for combination in product(*distinct):
        yield dict(zip(mentions, combination, strict=True))


def distinct_in(values: list[Any], paths: set[Mention]) -> list[Any]:
    """Return one value for each way in which these mentions can read, leaving out values that lack an attribute."""
    fitting = [
        value
        for value in values
        if all(path.attribute is None or hasattr(value, path.attribute.lower()) for path in paths)
    ]
    order = sorted(paths, key=str)
    return list(
        {tuple(path.look_up({path.variable: value}) for path in order): value for value in fitting}.values()
    )


def values_bound(grammar: Grammar) -> dict[str, list[Any]]:
    """Return all values that each variable can be bound to anywhere."""
    values: dict[str, list[Any]] = defaultdict(list)
    for rule in grammar.rules.values():
        for menu in rule.menus.values():
            for option in menu.options:
                if option.value is not None and option.value not in values[menu.binds]:
                    values[menu.binds].append(option.value)
    return values


def all_choices(grammar: Grammar) -> Iterator[tuple[int, ...]]:
    """Yield the choices of every story there is. Only for small grammars: the count is the product of all choices."""
    yield from _continue(grammar, (Choice(grammar.start),), {}, ())


def _continue(
    grammar: Grammar, ahead: tuple, context: Context, made: tuple[int, ...]
) -> Iterator[tuple[int, ...]]:
    """Yield every completion of the choices made so far. (Pieces that are not choices say nothing here.)"""
    if not ahead:
        yield made
        return
    menu = grammar.rules[ahead[0].rule].menu(context)
    for index, option in enumerate(menu.options):
        inner = tuple(piece for piece in option.pieces if isinstance(piece, Choice))
        step = made if len(menu.options) == 1 else (*made, index)
        yield from _continue(grammar, inner + ahead[1:], menu.bound(option, context), step)
