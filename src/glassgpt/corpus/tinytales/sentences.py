"""How a story is told: the rules of the grammar, from "Once there was" to the last line.

There are three plots. In the first a toy comes to grief and a neighbour saves it; in the second something
good is to be made for someone and one thing is missing; in the third a hero is afraid and a neighbour goes
along. All share the beginning, the neighbours and the last lines, and in each the end follows from the
wish and the trouble.

To add a sentence, add an option. Two options on one menu must not begin alike; `entropy.ambiguities`
names those that do, and a test asks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from glassgpt.corpus.tinytales import world
from glassgpt.corpus.tinytales.grammar import Grammar, Option, Rule, rule, rule_by

NAMES = {"she": world.GIRLS, "he": world.BOYS, "any": world.GIRLS + world.BOYS}


@cache
def storybook() -> Grammar:
    """Return the grammar of the built-in stories."""
    chapters = (beginning, plots, days, toy_trouble, missing_food, daring, neighbours)
    return Grammar.of("story", (rule for chapter in chapters for rule in chapter()))


CLOSINGS = (
    Option("From that day on, {hero} and {helper} were the best of friends.", 2),
    Option("When {hero} went to bed that night, {hero.he} was still smiling.", 2),
    Option("And that is the story of the {trait} {kind} and the {helper.kind}.", 3),
    Option("A good friend makes every trouble small.", 2),
    Option("How good it is to have a friend!", 2),
    Option("And {hero} never forgot how {helper} had helped {hero.him}.", 2),
    Option("They went home together, tired and happy.", 2),
    Option('"See you tomorrow, {hero}!" called {helper}.', 2),
    Option("Sleep well, little {kind}!", 2),
)
"""Last lines that fit every plot."""


def valued(text: str, values: Mapping[Any, int] | Iterable[Any]) -> tuple[Option, ...]:
    """Make an option of each value, all with the same text; a mapping gives the weights."""
    weights = values if isinstance(values, Mapping) else dict.fromkeys(values, 1)
    return tuple(Option(text, weight, value) for value, weight in weights.items())


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


def toy_trouble() -> list[Rule]:
    """A toy is lost, stuck or broken, and is saved in the end."""
    toys = list(world.TOYS)
    return [
        rule("color", *valued("{color}", world.COLORS)),
        rule("toy", *valued("{toy}", world.TOYS)),
        rule_by("place", "toy", {toy.name: valued("{place}", toy.places) for toy in toys}),
        rule_by("mishap", "toy", {toy.name: mishaps(toy) for toy in toys}, binds="trouble"),
        rule_by("spot", "trouble", {key: valued("{spot}", spots) for key, spots in world.SPOTS.items()}),
        rule_by("part", "toy", {toy: valued("{part}", parts) for toy, parts in world.PARTS.items()}),
        rule(
            "thanks",
            '"Thank you, {helper}!" said {hero}.',
            '"Hooray!" cried {hero} and jumped for joy.',
            '"You saved my {toy}!" cried {hero}.',
            '"You are a true friend," {hero} told {helper}.',
            "{hero} gave {helper} a big hug.",
            "{hero} laughed and thanked {helper} again and again.",
            "How happy {hero} was!",
            "{hero} was so happy that {hero.he} sang.",
        ),
        rule(
            "toy_end",
            Option("They {toy.did} the {color} {toy} until the sun went down.", 2),
            Option("After that they took turns with the {color} {toy}.", 2),
            Option("{hero.He} even let {helper} {toy.do} the {color} {toy}.", 2),
            Option("Soon they {toy.did} the {color} {toy} together {place}.", 2),
            *CLOSINGS,
        ),
    ]


def mishaps(toy: world.Toy) -> tuple[Option, ...]:
    """Make the options for what can happen to a toy."""
    return tuple(Option(text, 1, trouble) for trouble in toy.troubles for text in MISHAPS[trouble])


MISHAPS = {
    "high": (
        "the {toy} got stuck on top of a [spot].",
        "the {toy} went up and up and landed on a [spot].",
    ),
    "water": (
        "the {toy} drifted far out on the water.",
        "the {toy} slipped away into deep water.",
    ),
    "hole": (
        "the {toy} fell into a [spot].",
        "the {toy} slipped away into a [spot].",
    ),
    "stuck": (
        "the {toy} got stuck in [spot].",
        "the {toy} ran into [spot] and would not move.",
    ),
    "broken": (
        "the {toy} hit a stone and lost its [part].",
        "the {toy} bumped into a rock, and its [part] came off.",
    ),
}


def missing_food() -> list[Rule]:
    """Something good is to be made, one thing is missing, and a guest is happy in the end."""
    return [
        rule("dish", *valued("{dish}", tuple(world.DISHES))),
        rule("guest", *valued("{guest}", world.GUESTS)),
        rule_by(
            "need",
            "dish",
            {dish: valued("{trouble}", needs) for dish, needs in world.DISHES.items()},
            "trouble",
        ),
        rule(
            "start",
            Option("put on a [color] apron", 2),
            Option("took out a [color] bowl", 2),
            Option("went into the kitchen", 1),
        ),
        rule(
            "lack",
            "there was no [need] left",
            "the [need] was all gone",
            "{hero.he} could not find any [need]",
            "{hero.he} had no [need] at all",
        ),
        rule(
            "feast",
            "Together they made the {dish}, and the whole house smelled good.",
            "Soon the {dish} was ready for {hero.his} {guest}.",
            "{hero} and {helper} made the {dish} side by side.",
            "So {hero.his} {guest} got a {dish} after all.",
        ),
        rule(
            "food_end",
            Option("{hero.His} {guest} ate every last bit of it.", 2),
            Option("{hero.His} {guest} took one bite and began to laugh.", 2),
            Option("{hero.His} {guest} gave them both a big hug.", 2),
            Option('"This is the best {dish} in the world," said {hero.his} {guest}.', 2),
            Option("{hero.His} {guest} smiled and asked for more.", 2),
            *CLOSINGS,
        ),
    ]


def daring() -> list[Rule]:
    """The hero is afraid, someone goes along, and then it is not so bad."""
    dares = list(world.DARES)
    return [
        rule("dare", *valued("{trouble.wish}", world.DARES), binds="trouble"),
        rule_by(
            "scene",
            "trouble",
            {dare.key: ["[night] [edge]" if dare.key == "night" else "[day] [edge]"] for dare in dares},
        ),
        rule_by("edge", "trouble", EDGES),
        rule(
            "fright",
            "{hero.His} heart went thump, thump, thump.",
            "{hero.His} knees shook like jelly.",
            "{hero.He} wanted to run home.",
            "{hero.He} closed {hero.his} eyes and did not move.",
            "All at once {hero.he} felt very small.",
            '"Maybe tomorrow," {hero.he} said in a small voice.',
            '"I cannot do it," {hero.he} whispered.',
        ),
        rule(
            "courage",
            '"I was afraid once, too," said {helper}. "Come with me."',
            '"Do not worry," said {helper} [softly]. "I will stay with you."',
            '"You can do it," said {helper} [softly].',
            '"Let us do it together," said {helper} [softly].',
            '"Are you afraid?" asked {helper} [softly].',
            "{helper} smiled at {hero.him} and nodded.",
        ),
        rule_by("triumph", "trouble", TRIUMPHS),
        rule("number", *weighted("ten 1 twenty 1 fifty 1 ninety 1")),
        rule(
            "dare_end",
            Option('"I did it!" cried {hero}.', 2),
            Option('"That was not so bad," said {hero}.', 2),
            Option('"Can we do it again tomorrow?" asked {hero}.', 2),
            Option('"How brave you are, {hero}!" said {helper} with a smile.', 2),
            Option("{hero.He} had never felt so proud.", 2),
            Option("{hero.He} laughed and gave {helper} a hug.", 2),
            *CLOSINGS,
        ),
    ]


EDGES = {
    "lake": (
        "{hero} went down to the lake, but the water looked dark and cold.",
        "{hero} stood by the lake and put one foot in.",
    ),
    "night": (
        "{hero} opened the door, but it was dark and cold.",
        "{hero} opened the door and looked out.",
    ),
    "song": (
        "{hero} stood before the crowd, but not a sound came out.",
        "{hero} came to the fair and saw how many were there to listen.",
    ),
    "bridge": (
        "{hero} came to the bridge and looked down.",
        "{hero} put one foot on the bridge, and it creaked.",
    ),
}

TRIUMPHS = {
    "lake": (
        "Soon {hero} was on the other side.",
        "At last {hero} came out on the other side, wet and happy.",
    ),
    "night": (
        "They looked up, and {hero} counted [number] stars.",
        "Soon the dark was not so dark, and {hero} found [number] stars.",
    ),
    "song": (
        "Then {hero} sang the whole song, and everyone clapped.",
        "{hero} sang, first softly, then loud and clear.",
    ),
    "bridge": (
        "Step by step {hero} came to the other side.",
        "The bridge creaked, but it held, and soon {hero} was across.",
    ),
}


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
            '"That is easy," said {helper}. "Look!"',
            '"We can do it together," said {helper}.',
        ),
        rule("softly", *weighted("softly 2 kindly 2 gently 1 warmly 1")),
        rule_by("rescue", "helper.skill", RESCUES),
    ]


RESCUES = {
    "fly": (
        "{helper.He} flew up and brought the {toy} down from the {spot}.",
        "Up to the top of the {spot} flew {helper}, and down came the {toy}.",
    ),
    "climb": (
        "{helper.He} climbed up the {spot} and brought down the {toy}.",
        "Up the {spot} went {helper} and came down with the {toy}.",
    ),
    "swim": (
        "{helper.He} jumped in with a splash and brought back the {toy}.",
        "{helper.He} swam out and pushed the {toy} to the shore.",
        "{helper} swam after the {toy} and brought it back.",
    ),
    "creep": (
        "{helper.He} crept into the {spot} and came out with the {toy}.",
        "Into the {spot} went {helper}, and out came the {toy}.",
    ),
    "pull": (
        "{helper.He} pulled only once, and pop! The {toy} was out of the {spot}.",
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


def weighted(words: str) -> tuple[Option, ...]:
    """Make options of words and weights written in a row: "sunny 3 windy 2"."""
    row = words.split()
    return tuple(Option(word, int(weight)) for word, weight in zip(row[::2], row[1::2], strict=True))
