"""Grammar by minimal pairs: of two sentences that differ in one place, does the model prefer the right one?

    The dog is happy.       The dog are happy.

The model need not understand or answer anything: it prefers the sentence with the higher log-probability, so the
smallest model can be tested (Marvin and Linzen, 2018; BLiMP: Warstadt et al., 2020). The sentences are made here, from
templates with the words of children's stories.

The pairs are balanced. A right sentence with *is* has a counterpart, a right one with *are*, so all right sentences
together have exactly the words of all wrong ones. A model that only knows word frequencies is right in half of each
such couple: chance is 50 % for every phenomenon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from glassgpt.errors import EvaluationError
from glassgpt.evaluation.score import Score, Subject, share_of
from glassgpt.evaluation.scoring import likelihoods


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences, and the rule that one of them breaks."""

    phenomenon: str
    right: str
    wrong: str


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two frames with a gap, and two words that each fit into only one of them.

    In the frames `{gap}` marks the place of these words; every other name in braces is filled from `WORDS`.
    """

    phenomenon: str
    frames: tuple[str, str]
    words: tuple[str, str]


WORDS = {
    "animal": ("dog", "cat", "bird", "bear"),
    "child": ("girl", "boy"),
    "thing": ("ball", "box", "hat"),
    "feeling": ("happy", "sad"),
    "size": ("little", "big"),
    "place": ("house", "garden"),
    "girl": ("Lily", "Anna"),
    "boy": ("Ben", "Tom"),
}

CONTRASTS = (
    Contrast("agreement", ("The {animal} {gap} {feeling}.", "The {animal}s {gap} {feeling}."), ("is", "are")),
    Contrast("agreement", ("The {animal} {gap} big.", "The {animal}s {gap} big."), ("was", "were")),
    Contrast(
        "agreement at a distance",
        ("The {animal} near the trees {gap} big.", "The {animal}s near the tree {gap} big."),
        ("is", "are"),
    ),
    Contrast(
        "agreement at a distance",
        ("The {child} with the flowers {gap} there.", "The {child}s with the flower {gap} there."),
        ("was", "were"),
    ),
    Contrast("determiner", ("She saw {gap} {animal}.", "She saw {gap} {animal}s."), ("this", "these")),
    Contrast("determiner", ("He has {gap} {animal}.", "He has {gap} {animal}s."), ("a", "two")),
    Contrast("article", ("It was {gap} old {thing}.", "It was {gap} new {thing}."), ("an", "a")),
    Contrast("article", ("She ate {gap} apple.", "She ate {gap} cake."), ("an", "a")),
    Contrast(
        "pronoun",
        ("{girl} lost the {thing}, so {gap} was sad.", "{boy} lost the {thing}, so {gap} was sad."),
        ("she", "he"),
    ),
    Contrast("reflexive", ("The girl hurt {gap}.", "The boy hurt {gap}."), ("herself", "himself")),
    Contrast(
        "reflexive", ("{girl} looked at {gap} and laughed.", "{boy} looked at {gap} and laughed."),
        ("herself", "himself"),
    ),
    Contrast("case", ("{gap} saw the {animal}.", "{gap} {thing} was red."), ("She", "Her")),
    Contrast("case", ("Then {gap} went home.", "The {animal} helped {gap}."), ("he", "him")),
    Contrast("negation", ("{boy} did not {gap} home.", "Then {boy} {gap} home."), ("go", "went")),
    Contrast("negation", ("{girl} did not {gap} the {thing}.", "Then {girl} {gap} the {thing}."), ("see", "saw")),
    Contrast("infinitive", ("{girl} wanted to {gap}.", "{girl} sat down and {gap}."), ("cry", "cried")),
    Contrast("infinitive", ("The {animal} wanted to {gap}.", "The {animal} sat up and {gap}."), ("eat", "ate")),
    Contrast(
        "comparison",
        ("The {animal} is {gap} than the {thing}.", "The {animal} is the {gap} of all."),
        ("bigger", "biggest"),
    ),
)  # fmt: skip

# Word order needs no counterpart: the right and the wrong sentence have the same words.
ORDERS = (
    ("She had a {size} {thing}.", "She had a {thing} {size}."),
    ("The {animal} is in the {place}.", "The {animal} is the in {place}."),
    ("Where is the {animal}?", "Where the {animal} is?"),
    ("He gave the {thing} to her.", "He gave to her the {thing}."),
    ("{girl} wanted to play.", "{girl} to wanted play."),
)


def pairs() -> list[Pair]:
    """Return all pairs; those of a contrast are in couples with the same words."""
    found = [pair for contrast in CONTRASTS for pair in _couples(contrast)]
    for right, wrong in ORDERS:
        found += [Pair("word order", *both) for both in _filled((right, wrong))]
    return found


def grammar(subject: Subject) -> Score:
    """Return the share of pairs whose right sentence has the higher log-probability; ties count half.

    The sentences begin a document. Pairs that the tokenizer cannot represent are left out. Raises `EvaluationError`
    when none is left.
    """
    run = subject.run
    asked = [pair for pair in pairs() if not run.tokenizer.unknown(f"{pair.right} {pair.wrong}")]
    if not asked:
        raise EvaluationError(
            "The run's vocabulary cannot represent any sentence of `grammar`: it was not made from English text."
        )
    before = run.prompt_ids("")
    sentences = [text for pair in asked for text in (pair.right, pair.wrong)]
    texts = [(before, run.tokenizer.encode(text)) for text in sentences]
    scores = [found.log_probability for found in likelihoods(run.model, texts)]
    points = [
        1.0 if right > wrong else 0.5 if right == wrong else 0.0
        for right, wrong in zip(scores[::2], scores[1::2], strict=True)
    ]
    value, error = share_of(points)
    by_phenomenon = {
        name: share_of([point for pair, point in zip(asked, points, strict=True) if pair.phenomenon == name])[
            0
        ]
        for name in dict.fromkeys(pair.phenomenon for pair in asked)
    }
    return Score("grammar", "right sentence preferred", value, 0.5, error, len(asked), by_phenomenon)


def _couples(contrast: Contrast) -> Iterator[Pair]:
    first, second = contrast.words
    for one, other in _filled(contrast.frames):
        yield Pair(contrast.phenomenon, one.replace("{gap}", first), one.replace("{gap}", second))
        yield Pair(contrast.phenomenon, other.replace("{gap}", second), other.replace("{gap}", first))


def _filled(frames: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Yield two frames with words filled in and the gap kept, in all combinations that repeat no sentence."""
    names = [name for name in WORDS if any(f"{{{name}}}" in frame for frame in frames)]
    told: set[str] = set()
    for choice in product(*(WORDS[name] for name in names)):
        chosen = dict(zip(names, choice, strict=True))
        one, other = (frame.format(**chosen, gap="{gap}") for frame in frames)
        if not told & {one, other}:
            told |= {one, other}
            yield one, other
