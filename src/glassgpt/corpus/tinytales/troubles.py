"""The three plots in detail: a toy in trouble, something missing in the kitchen, and a dare.

Each function returns the rules of one plot; the tables beside it hold the sentences for each kind of
trouble. `sentences` puts them together with what all stories share.
"""

from __future__ import annotations

from glassgpt.corpus.tinytales import world
from glassgpt.corpus.tinytales.grammar import Option, Rule, rule, rule_by, valued, weighted

CLOSINGS = (
    Option("From that day on, {hero} and {helper} were the best of friends.", 2),
    Option("When {hero} went to bed that night, {hero.he} was still smiling.", 2),
    Option("And that is the story of the {kind} and the {helper.kind}.", 2),
    Option("A good friend makes every trouble small.", 2),
    Option("How good it is to have a friend!", 2),
    Option("And {hero} never forgot how {helper} had helped {hero.him}.", 2),
    Option("They went home together, tired and happy.", 2),
    Option("And they lived happily ever after.", 2),
    Option("What a day that was!", 2),
    Option('"See you tomorrow, {hero}!" called {helper}.', 2),
    Option("Sleep well, little {kind}!", 2),
)
"""Last lines that fit every plot."""


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
            "Then {hero} gave {helper} a big hug.",
            "With a laugh {hero} thanked {helper} again and again.",
            "How happy {hero} was!",
            "Now {hero} was so happy that {hero.he} sang.",
        ),
        rule(
            "toy_end",
            Option("They {toy.did} the {toy} until the sun went down.", 2),
            Option("After that they took turns with the {color} {toy}.", 2),
            Option("{hero.He} even let {helper} {toy.do} the {toy}.", 2),
            Option("Soon they {toy.did} the {toy} together.", 2),
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
    """The hero wants to make a dish, one thing is missing, and a guest is happy in the end."""
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
            "Soon the {dish} was ready.",
            "So {hero} and {helper} made the {dish} side by side.",
            "So there was a {dish} after all.",
        ),
        rule(
            "food_end",
            Option("{hero.His} {guest} ate every last bit of it.", 3),
            Option("{hero.His} {guest} took one bite and jumped for joy.", 3),
            Option("{hero.His} {guest} gave them both a big hug.", 3),
            Option('"This is the best {dish} in the world," said {hero.his} {guest}.', 3),
            Option("{hero.His} {guest} smiled and asked for more.", 3),
            *CLOSINGS,
        ),
    ]


def daring() -> list[Rule]:
    """The hero is afraid, someone helps, and then it is not so bad."""
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
        "{hero} opened the door, but it was very dark.",
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
        "And {hero} sang, first softly, then loud and clear.",
    ),
    "bridge": (
        "Step by step {hero} came to the other side.",
        "The bridge creaked, but it held, and soon {hero} was across.",
    ),
}
