"""Recall: whose story was it? The model must repeat a name from a story's first sentence in its last.

    Lily had a red ball. One day Anna came to play. ... "Thank you for playing with me, Anna," said | Lily.

The model chooses among four names: the right one, that of another person in the story, and two that do not occur.
Knowing which names occur needs attention to the text; knowing which of them is meant needs a little more. LAMBADA
(Paperno et al., 2016) tests the same with novels for adults; these stories are short and written for this probe.

Each story is used once with each of the names, so preferring one name is right in one of four cases: chance is 25 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from glassgpt.errors import EvaluationError
from glassgpt.evaluation.score import Score, Subject, share_of
from glassgpt.evaluation.scoring import Likelihood, likelihoods

GIRLS = ("Lily", "Anna", "Mia", "Rose")
BOYS = ("Ben", "Jack", "Tom", "Leo")

# {hero} is the answer, {friend} is the other one. Pronouns do not help: both are girls, or both are boys.
SHORT_STORIES = (
    'Once there was a child named {hero}. {hero} gave a cake to {friend}. "Thank you so much," {friend} said to',
    'This is a story about {hero}. One day {friend} came to the house. "Come in, {friend}," said',
    'One morning {hero} found a little key. "What is it for?" asked {friend}. "I do not know," said',
    "{hero} was hungry. So {friend} made some soup, put it on the table and called for",
    '{hero} had a new kite. {friend} wanted to see it. "Please show me your kite," said {friend} to',
)
LONG_STORIES = (
    "Once upon a time there was a child named {hero}, who had a small red boat. Every day {hero} took the boat to "
    "the river. One day the wind was strong and the boat went far away. {friend} saw it from the bridge and ran down "
    'to the water. {friend} got wet feet, but caught the boat. "Here is your boat," said {friend}. "Thank you, '
    '{friend}!" said',
    "{hero} lived in a house near the woods. One evening the lights went out, and it was very dark. {hero} was afraid "
    'and called for help. Then {friend} came with a lamp. They sat by the window and looked at the stars. "The dark '
    'is not so bad," said {friend}. "Not when you are here, {friend}," said',
    "One day {hero} wanted to bake bread, but there was no milk in the house. So {hero} went to see {friend}, who had "
    "a big brown cow. {friend} filled a jug with milk and put it in a basket. The bread was warm and good. In the "
    "afternoon they ate it under the old tree. The best bread of all was the bread that was made by",
    "It was the first day of school for {hero}. The room was full of children, and all of them were loud. Nobody said "
    "a word to {hero}. Then {friend} came and sat down on the next chair. They read a book about a whale and laughed "
    'at the pictures. "Will you be my friend?" asked {friend}. "Yes, {friend}, I will," said',
    "{hero} had a garden with a tall apple tree. In the tree lived a bird that sang every morning. One morning it did "
    "not sing, for it had hurt its wing. {friend} knew all about birds and brought a soft box. After ten days the "
    'bird could fly again. It flew around {friend} once, and then it flew back to the garden of',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A story up to the missing name, the name, and the names to choose from."""

    story: str
    answer: str
    names: tuple[str, ...]
    long: bool


def questions() -> Iterator[list[Question]]:
    """Yield each story once per name, each time with a different hero."""
    for long, stories in ((False, SHORT_STORIES), (True, LONG_STORIES)):
        for story, names in product(stories, (GIRLS, BOYS)):
            couples = zip(names, names[1:] + names[:1], strict=True)
            yield [
                Question(story.format(hero=hero, friend=friend), hero, names, long)
                for hero, friend in couples
            ]


def recall(subject: Subject) -> Score:
    """Return the share of stories whose right name is the likeliest of four, as a whole word.

    Stories that the run's vocabulary cannot represent, or that are longer than its context, are left out. Raises
    `EvaluationError` when none is left.
    """
    asked, pairs = [], []
    for alike in questions():
        choices = [choice_ids(subject, each.story, name) for each in alike for name in each.names]
        if all(_fits(subject, *choice) for choice in choices):
            asked += alike
            pairs += choices
    if not asked:
        raise EvaluationError(
            "No story of `recall` can be asked: the run's vocabulary cannot represent them, or its context of "
            f"{subject.run.model.config.context_length} tokens cannot hold them."
        )
    right = right_answers(asked, likelihoods(subject.run.model, pairs))
    value, error = share_of(right)
    details = {
        name: share_of(those)[0]
        for name, long in (("short stories", False), ("long stories", True))
        if (those := [ok for question, ok in zip(asked, right, strict=True) if question.long == long])
    }
    return Score("recall", "hero's name chosen of four", value, 1 / len(GIRLS), error, len(asked), details)


def right_answers(asked: Sequence[Question], found: Sequence[Likelihood]) -> list[bool]:
    """Return for each question whether its likeliest name is the answer; `found` has its names one after the other."""
    left = iter(found)
    right = []
    for question in asked:
        scores = {name: next(left).log_probability for name in question.names}
        right.append(max(scores, key=lambda name: scores[name]) == question.answer)
    return right


def choice_ids(subject: Subject, story: str, name: str) -> tuple[list[int], list[int]]:
    """Return the ids of a story, and those of a name with a full stop that continues it."""
    tokenizer = subject.run.tokenizer
    ids, told = tokenizer.encode(f"{story} {name}."), len(tokenizer.encode(story))
    return subject.run.prompt_ids("") + ids[:told], ids[told:]


def _fits(subject: Subject, before: list[int], name: list[int]) -> bool:
    unknown = subject.run.tokenizer.unknown_id
    return unknown not in before + name and len(before + name) <= subject.run.model.config.context_length + 1
