"""The people, animals and things of the story world, and what fits together.

This module holds only nouns and facts: the names, the animals, how and where each toy is played with, what
can happen to it, and who can help with that. `sentences` makes a story of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Being:
    """Someone with a name and pronouns, printed as the name."""

    name: str
    he: str
    his: str
    him: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of a hero: the noun, and which names it can have ("she", "he" or "any")."""

    noun: str
    names: str = "any"

    def __str__(self) -> str:
        return self.noun


@dataclass(frozen=True, slots=True)
class Toy:
    """A thing to play with: "to fly it", "they flew it", "on the hill"."""

    name: str
    do: str
    did: str
    places: tuple[str, ...]
    troubles: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Dare:
    """Something that a hero longs to do and is afraid of. `key` connects its scenes and its helpers."""

    key: str
    wish: str
    fear: str

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True)
class Helper:
    """Someone from the village, with the skill that helps this time."""

    name: str
    kind: str
    he: str
    his: str
    him: str
    skill: str

    def __str__(self) -> str:
        return self.name


def she(name: str) -> Being:
    """Make a being who is called she."""
    return Being(name, "she", "her", "her")


def he(name: str) -> Being:
    """Make a being who is called he."""
    return Being(name, "he", "his", "him")


GIRLS = tuple(map(she, ("Mia", "Lily", "Nora", "Ruby", "Zoe", "Anna", "Ivy", "Hazel", "Poppy", "Ella")))
BOYS = tuple(map(he, ("Ben", "Leo", "Finn", "Oscar", "Theo", "Jack", "Milo", "Noah", "Hugo", "Pip")))

KINDS = {
    Kind("girl", "she"): 3,
    Kind("boy", "he"): 3,
    Kind("fox"): 2,
    Kind("rabbit"): 2,
    Kind("kitten"): 2,
    Kind("puppy"): 2,
    Kind("hedgehog"): 2,
    Kind("lamb"): 1,
    Kind("piglet"): 1,
    Kind("pony"): 1,
}

TRAITS = {
    "little": 3,
    "cheerful": 2,
    "curious": 2,
    "kind": 2,
    "clever": 2,
    "gentle": 2,
    "friendly": 2,
    "merry": 2,
}

HOMES = (
    "a house by the sea",
    "a house with a blue door",
    "a cottage near the woods",
    "a cottage on a hill",
    "a small village",
    "a green valley",
    "a town by the river",
)

COLORS = {"red": 3, "blue": 3, "green": 2, "yellow": 2, "white": 2, "purple": 2, "silver": 1, "striped": 1}

TOYS = {
    Toy("kite", "fly", "flew", ("on the hill", "in the meadow", "by the sea"), ("high", "broken")): 3,
    Toy(
        "ball", "kick", "kicked", ("in the garden", "in the meadow", "by the sea"), ("high", "hole", "water")
    ): 3,
    Toy("boat", "sail", "sailed", ("down at the pond", "down at the lake"), ("water", "broken")): 3,
    Toy("wagon", "pull", "pulled", ("in the garden", "on the lane"), ("stuck", "broken")): 2,
    Toy("drum", "play", "played", ("in the garden", "under the old tree"), ("hole", "broken")): 2,
    Toy("bell", "ring", "rang", ("in the garden", "under the old tree"), ("hole", "broken")): 2,
    Toy("hoop", "roll", "rolled", ("on the hill", "on the lane"), ("stuck", "water", "hole")): 2,
}

SPOTS = {
    "high": ("tall tree", "high wall", "high tower"),
    "hole": ("dark hole", "hollow log"),
    "stuck": ("deep mud", "tall grass"),
}
"""Where a toy ends up, by the trouble it is in."""

PARTS = {
    "kite": ("tail",),
    "boat": ("sail",),
    "wagon": ("wheel",),
    "drum": ("strap",),
    "bell": ("handle",),
}
"""What can come off a toy."""

DISHES = {
    "cake": ("honey", "flour", "butter", "sugar"),
    "pie": ("butter", "flour", "jam"),
    "pudding": ("milk", "honey", "sugar"),
    "tart": ("jam", "butter"),
}
"""What can be made, and what may be missing for it."""

GUESTS = {
    she("grandmother"): 3,
    he("grandfather"): 2,
    she("mother"): 2,
    he("father"): 2,
    she("sister"): 2,
    he("brother"): 2,
}

DARES = {
    Dare("lake", "swim across the lake", "deep water"): 3,
    Dare("night", "go out and count the stars", "the dark"): 3,
    Dare("song", "sing at the village fair", "the crowd"): 3,
    Dare("bridge", "cross the old bridge", "falling"): 2,
}

VILLAGE = (
    (she("Olive"), "owl", {"high": "fly", "night": "night"}),
    (he("Rory"), "raven", {"high": "fly", "song": "song"}),
    (he("Skip"), "squirrel", {"high": "climb"}),
    (he("Gus"), "goat", {"high": "climb", "bridge": "bridge", "milk": "give", "butter": "give"}),
    (he("Fergus"), "frog", {"water": "swim", "lake": "lake", "song": "song"}),
    (she("Daisy"), "duck", {"water": "swim", "lake": "lake"}),
    (he("Otto"), "otter", {"water": "swim", "lake": "lake"}),
    (she("Molly"), "mole", {"hole": "creep", "night": "night"}),
    (she("Tilly"), "mouse", {"hole": "creep", "flour": "give", "jam": "give"}),
    (she("Cleo"), "cat", {"hole": "creep", "song": "song", "night": "night", "milk": "give"}),
    (he("Bruno"), "bear", {"stuck": "pull", "honey": "give", "jam": "give", "bridge": "bridge"}),
    (she("Clover"), "cow", {"stuck": "pull", "milk": "give", "butter": "give", "bridge": "bridge"}),
    (he("Boris"), "beaver", {"broken": "mend", "stuck": "pull"}),
    (he("Walter"), "sailor", {"broken": "mend", "sugar": "give"}),
    (she("Ida"), "tailor", {"broken": "mend", "sugar": "give", "honey": "give"}),
    (she("Rosa"), "baker", {"flour": "give", "sugar": "give", "butter": "give", "honey": "give"}),
)
"""The neighbours, and the skill that each uses for each trouble."""


def helpers() -> dict[str, list[Helper]]:
    """Return the helpers for each trouble."""
    able: dict[str, list[Helper]] = {}
    for being, kind, skills in VILLAGE:
        for trouble, skill in skills.items():
            helper = Helper(being.name, kind, being.he, being.his, being.him, skill)
            able.setdefault(trouble, []).append(helper)
    return able
