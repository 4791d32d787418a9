"""The machinery: marks, menus, exact entropy against brute force, and the proof that text determines every choice."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import islice
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.corpus.tinytales.entropy import all_choices, ambiguities, entropy_of
from glassgpt.corpus.tinytales.generate import draw, entropy_bits
from glassgpt.corpus.tinytales.grammar import (
    Choice,
    Context,
    Grammar,
    Mention,
    Menu,
    Option,
    Rule,
    read_marks,
    replay,
    rule,
    rule_by,
    tell,
)
from glassgpt.corpus.tinytales.parse import parse
from glassgpt.corpus.tinytales.sentences import storybook

WEATHER = Grammar.of(
    "start",
    [
        rule("start", "It was [sky], so [plan]."),
        rule("sky", Option("fine", 1, "fine"), Option("wet", 1, "wet")),
        rule_by("plan", "sky", {"fine": ["we ran", "we swam"], "wet": ["we read"]}),
    ],
)


def test_marks_are_split_in_order():
    assert read_marks("{hero.He} saw [thing].") == (Mention("hero", "He"), " saw ", Choice("thing"), ".")


def test_a_rule_offers_what_fits_the_earlier_choice():
    assert [replay(WEATHER, choices) for choices in all_choices(WEATHER)] == [
        ("It was fine, so we ran.", 2.0),
        ("It was fine, so we swam.", 2.0),
        ("It was wet, so we read.", 1.0),
    ]


def test_entropy_of_a_grammar_small_enough_to_do_by_hand():
    # One bit for the sky; a second bit only when it is fine, which is half the time.
    assert entropy_of(WEATHER) == pytest.approx(1.5)


def test_entropy_counts_weights():
    grammar = Grammar.of("start", [rule("start", Option("a", 3), "b")])
    assert entropy_of(grammar) == pytest.approx(0.75 * math.log2(4 / 3) + 0.25 * 2)


def reduced(grammar: Grammar, seed: int) -> Grammar:
    """Keep one or two random options of each menu: a world so small that its stories can be listed."""
    chance = random.Random(seed)
    wide = set(chance.sample(sorted(grammar.rules), 14))

    def fewer(name: str, menu: Menu) -> Menu:
        count = min(len(menu.options), 2 if name in wide else 1)
        return Menu(menu.binds, tuple(chance.sample(menu.options, count)))

    rules = (
        Rule(each.name, {key: fewer(each.name, menu) for key, menu in each.menus.items()}, each.reads)
        for each in grammar.rules.values()
    )
    return Grammar.of(grammar.start, rules)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_exact_entropy_equals_brute_force_on_reduced_worlds(seed: int):
    small = reduced(storybook(), seed)
    told = [replay(small, choices) for choices in all_choices(small)]
    probabilities = [2.0**-bits for _, bits in told]
    assert sum(probabilities) == pytest.approx(1)
    assert entropy_of(small) == pytest.approx(
        sum(p * bits for p, (_, bits) in zip(probabilities, told, strict=True))
    )
    assert len({text for text, _ in told}) == len(told)


def test_exact_entropy_agrees_with_the_average_surprise_of_many_stories():
    bits = [replay(storybook(), draw(storybook(), 7, number).choices)[1] for number in range(3000)]
    assert fmean(bits) == pytest.approx(entropy_bits(), abs=4 * stdev(bits) / math.sqrt(len(bits)))


def test_no_two_options_of_the_world_begin_alike():
    assert ambiguities(storybook()) == []


@pytest.mark.parametrize(
    "options",
    [
        ("Ann", "Anna ran"),
        ("[inner] ran", "Ben ran"),
        ("{inner} ran", "{inner} ran home"),
        ("{inner}", "Ann"),
        ("Ann{inner}", "AnnAnn"),
        ("same", "same"),
    ],
)
def test_options_that_begin_alike_are_found(options: tuple[str, str]):
    inner = rule("inner", Option("{inner}", 1, "Ann"), Option("{inner}", 1, "Ben"))
    grammar = Grammar.of("start", [rule("start", "[inner]: [next]"), inner, rule("next", *options)])
    assert any(line.startswith("next[None]") for line in ambiguities(grammar))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), number=st.integers(0, 2**31))
def test_a_story_reads_back_to_its_choices(seed: int, number: int):
    teller = draw(storybook(), seed, number)
    found = parse("".join(teller.spoken))
    text, bits = replay(storybook(), teller.choices)
    assert text == "".join(teller.spoken)
    assert found.valid
    assert found.choices == tuple(teller.choices)
    assert found.log2_probability == pytest.approx(-bits)


class Follow:
    """A teller that asks `pick` for an index and remembers the menus, the choices and the text."""

    def __init__(self, pick: Callable[[Menu], int]):
        self.pick = pick
        self.taken: list[tuple[Menu, int]] = []
        self.spoken: list[str] = []

    def choose(self, menu: Menu, context: Context) -> int:
        self.taken.append((menu, self.pick(menu)))
        return self.taken[-1][1]

    def say(self, text: str) -> None:
        self.spoken.append(text)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_choices_read_back_not_only_likely_ones(data: st.DataObject):
    teller = Follow(lambda menu: data.draw(st.integers(0, len(menu.options) - 1)))
    tell(storybook(), teller)
    assert parse("".join(teller.spoken)).choices == tuple(index for _, index in teller.taken)


def test_every_option_of_every_menu_is_told_by_some_story():
    told: set[tuple[int, int]] = set()
    for number in range(4000):
        recorded = iter(draw(storybook(), 1, number).choices)
        teller = Follow(lambda menu, recorded=recorded: next(recorded))
        tell(storybook(), teller)
        told.update((id(menu), index) for menu, index in teller.taken)
    missing = [
        (each.name, key, option.text, option.value)
        for each in storybook().rules.values()
        for key, menu in each.menus.items()
        for index, option in enumerate(menu.options)
        if len(menu.options) > 1 and (id(menu), index) not in told
    ]
    assert missing == []


def test_listing_is_lazy():
    assert len(list(islice(all_choices(storybook()), 5))) == 5
