"""How a story is told: the rules of the grammar, from "Once there was" to the last line.

There are three plots. In the first a toy gets into trouble and a neighbour saves it. In the second the hero
wants to make a dish for someone and one thing is missing. In the third the hero is afraid and a neighbour
helps. All share the beginning, the neighbours and the last lines, and in each the end follows from the wish
and the trouble.

To add a sentence, add an option. Two options in one menu must not begin the same way; `entropy.ambiguities`
names those that do, and a test checks it.
"""

from __future__ import annotations

from functools import cache

from glassgpt.corpus.tinytales import world
from glassgpt.corpus.tinytales.grammar import Grammar, Option, Rule, rule, rule_by, valued, weighted
from glassgpt.corpus.tinytales.troubles import daring, missing_food, toy_trouble

NAMES = {"she": world.GIRLS, "he": world.BOYS, "any": world.GIRLS + world.BOYS}


@cache
def storybook() -> Grammar:
    """Return the grammar of the built-in stories."""
    chapters = (beginning, plots, days, toy_trouble, missing_food, daring, neighbours)
    return Grammar.of("story", (rule for chapter in chapters for rule in chapter()))


def beginning() -> list[Rule]:
    """Who the story is about."""
    return [
        rule("story", "[opening] [plot]"),
        rule(
            "opening",
            Option("Once there was a [trait] [kind] called [hero].", 3),
            Option("Once upon a time there was a [trait] [kind] called [hero].", 3),
            Option("There once was a [trait] [kind] whose name was [hero].", 2),
            Option("Long ago, in [home], there lived a [trait] [kind] called [hero].", 3),
            Option("In [home] lived a [trait] [kind] called [hero].", 3),
            Option("This is the story of [any_hero], a [trait] [kind_of] from [home].", 2),
        ),
        rule("trait", *valued("{trait}", world.TRAITS)),
        rule("home", *world.HOMES),
        rule("kind", *valued("{kind}", world.KINDS)),
        rule_by("hero", "kind.names", {key: valued("{hero}", names) for key, names in NAMES.items()}),
        rule("any_hero", *valued("{hero}", NAMES["any"]), binds="hero"),
        rule_by(
            "kind_of", "hero.he", {key: valued("{kind}", kinds_for(key)) for key in ("she", "he")}, "kind"
        ),
    ]


def kinds_for(pronoun: str) -> dict[world.Kind, int]:
    """Return the kinds that a hero with this pronoun can be."""
    return {kind: weight for kind, weight in world.KINDS.items() if kind.names in (pronoun, "any")}


def plots() -> list[Rule]:
    """What the hero has, wants or fears, and what follows from it."""
    toy = "[day] [mishap] [sorrow]\n\n[arrival] [offer] [rescue]\n\n[thanks] [toy_end]"
    food = "[day] {hero} [start], but [lack]. [sorrow]\n\n[arrival] [offer] [rescue]\n\n[feast] [food_end]"
    dare = "[scene] [fright]\n\n[arrival] [courage] [rescue]\n\n[triumph] [dare_end]"
    beginnings = (
        (4, "{hero.He} had a [color] [toy] and loved to {toy.do} it [place].", toy),
        (3, "The thing {hero.he} loved best was a [color] [toy], which {hero.he} {toy.did} [place].", toy),
        (2, "For {hero.his} birthday {hero.he} got a [color] [toy] to {toy.do} [place].", toy),
        (3, "Every day {hero.he} took {hero.his} [color] [toy] and {toy.did} it [place].", toy),
        (4, "{hero.He} wanted to make a [dish] for {hero.his} [guest].", food),
        (3, "{hero.His} [guest] had a birthday, and {hero.he} promised {guest.him} a [dish].", food),
        (2, "As a surprise for {hero.his} [guest], {hero.he} planned to make a [dish].", food),
        (4, "{hero.He} longed to [dare], but {hero.he} was afraid of {trouble.fear}.", dare),
        (
            3,
            "More than anything {hero.he} wished to [dare]. But {hero.he} was scared of {trouble.fear}.",
            dare,
        ),
    )
    return [rule("plot", *(Option(f"{text}\n\n{rest}", weight) for weight, text, rest in beginnings))]


def days() -> list[Rule]:
    """When it happens."""
    return [
        rule(
            "day",
            Option("One [weather] [time]", 5),
            Option("On a [weather] [time]", 3),
            Option("Then, one [weather] [time],", 2),
        ),
        rule("weather", *weighted("sunny 3 windy 2 warm 2 bright 2 cloudy 2 cool 1 quiet 1")),
        rule("time", *weighted("morning 3 afternoon 2 day 2")),
        rule(
            "night",
            Option("One [sky] night", 5),
            Option("On a [sky] night", 3),
            Option("Then, one [sky] night,", 2),
        ),
        rule("sky", *weighted("clear 3 warm 2 quiet 2 cool 1")),
    ]


def neighbours() -> list[Rule]:
    """Someone is sad, and someone comes along who can help."""
    able = world.helpers()
    return [
        rule(
            "sorrow",
            '"Oh no!" cried {hero}.',
            '"What can I do now?" {hero.he} sighed.',
            "{hero} sat down and cried.",
            "{hero} felt very [sad].",
            "A big tear ran down {hero.his} nose.",
            "{hero.He} was so [sad] that {hero.he} could not speak.",
            "{hero.He} did not know what to do.",
        ),
        rule("sad", *weighted("sad 3 worried 2 unhappy 2")),
        rule(
            "arrival",
            "Just then [helper] came down the path.",
            "Soon [helper] came by.",
            "Along came [helper].",
            "Who should come by but [helper]!",
            "Luckily [helper] was not far away.",
            "But [helper] had seen it all.",
            "Then {hero} met [helper].",
        ),
        rule_by(
            "helper", "trouble", {key: valued("{helper} the {helper.kind}", who) for key, who in able.items()}
        ),
        rule(
            "offer",
            '"What is wrong?" asked {helper} [softly].',
            '"Do not worry," said {helper} [softly]. "I can help you."',
            '"I know what to do," said {helper} with a smile.',
            '"Let me help you," said {helper} [softly].',
            '"Can you help me?" asked {hero}. "Of course," said {helper}.',
            "{helper} thought for a moment and nodded.",
            '"That is easy," said {helper} [softly].',
            '"We can do it together," said {helper}.',
        ),
        rule("softly", *weighted("softly 2 kindly 2 gently 1 warmly 1")),
        rule_by("rescue", "helper.skill", RESCUES),
    ]


RESCUES = {
    "fly": (
        "{helper.He} flew up and brought the {toy} down.",
        "Up and up flew {helper}, and down came the {toy}.",
    ),
    "climb": (
        "{helper.He} climbed up and brought the {toy} down.",
        "Up the {spot} went {helper}, and soon down came the {toy}.",
    ),
    "swim": (
        "{helper.He} jumped in with a splash and brought back the {toy}.",
        "{helper.He} swam out and pushed the {toy} to the shore.",
        "{helper} swam after the {toy} and brought it back.",
    ),
    "creep": (
        "{helper.He} crept inside and came out with the {toy}.",
        "Into the {spot} went {helper}, and out came the {toy}.",
    ),
    "pull": (
        "{helper.He} pulled only once, and pop! Out came the {toy}.",
        "They pulled together until the {toy} came out of the {spot}.",
    ),
    "mend": (
        "{helper.He} fixed the {part} with some string.",
        "{helper.He} had some glue and put the {part} back on.",
        "With a bit of glue {helper} made the {part} as good as new.",
    ),
    "give": (
        "{helper.He} ran home and came back with the {trouble}.",
        "{helper} had plenty of {trouble} and gave {hero.him} some.",
        "{helper} gave {hero.him} all the {trouble} {hero.he} needed.",
    ),
    "lake": (
        "{helper} swam close by {hero.his} side all the way.",
        "{helper} jumped in with a splash, and they swam side by side.",
    ),
    "night": (
        "{helper} led {hero.him} out, and they sat down side by side.",
        "They went out together, and {helper} never left {hero.his} side.",
    ),
    "song": (
        "{helper.He} began to hum, and {hero} hummed along.",
        "{helper} stood by {hero.his} side and sang the first line.",
    ),
    "bridge": (
        "{helper.He} went first, one small step at a time.",
        "{helper} stayed close and told {hero.him} not to look down.",
    ),
}
