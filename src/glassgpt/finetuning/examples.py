"""From conversations to ids and targets: the model learns the assistant's words, never the user's.

An example is a row of ids and, for each id, whether it is a target. Targets that do not count are IGNORE, as in
torch. An answer too long for the context is cut at its end. A prompt that fills the context is refused or left out,
because nothing could be learned after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from torch import Tensor

from glassgpt.chat.messages import Message
from glassgpt.chat.templates import ChatTemplate, plain_text
from glassgpt.errors import CorpusError
from glassgpt.finetuning.records import Preference, Prompt
from glassgpt.tokenizers.controls import Piece
from glassgpt.tokenizers.fast import FastTokenizer

IGNORE = -100


@dataclass(frozen=True)
class Example:
    """Ids (L,), and whether each is the assistant's: bool (L,)."""

    ids: np.ndarray
    learned: np.ndarray

    def __len__(self) -> int:
        """Number of inputs: all ids except the last, which is only a target."""
        return len(self.ids) - 1

    @property
    def inputs(self) -> np.ndarray:
        """What the model reads."""
        return self.ids[:-1]

    @property
    def targets(self) -> np.ndarray:
        """The next id for each input, IGNORE where it does not count."""
        return np.where(self.learned[1:], self.ids[1:], IGNORE)


Pair = tuple[Example, Example]
"""A chosen and a rejected answer."""
Kept = TypeVar("Kept")


@dataclass
class Fitting:
    """Fits examples into a context, and counts the examples it cut or left out."""

    tokenizer: FastTokenizer
    template: ChatTemplate | None
    context_length: int
    skip_long: bool = False
    plain: Callable[[str], list[int]] = lambda _: []
    """The ids of a prompt without a template."""
    cut: int = 0
    skipped: int = 0
    keep_equal: bool = False
    """Keep pairs whose answers are the same within the context, as version 0.1.0 did."""
    same: int = 0
    """Pairs that were left out because their answers are the same within the context."""

    def notes(self) -> Iterator[str]:
        """Yield a sentence about each kind of examples that were cut or left out, if there are any."""
        if self.same:
            pairs = "pair was" if self.same == 1 else "pairs were"
            yield f"{self.same:,} {pairs} left out: both answers are the same once they are cut to the context."
        if self.cut:
            answers = (
                "answer was too long for the context and was"
                if self.cut == 1
                else ("answers were too long for the context and were")
            )
            yield f"{self.cut:,} {answers} cut at its end."
        if self.skipped:
            records = "record was" if self.skipped == 1 else "records were"
            yield (
                f"{self.skipped:,} {records} left out: the prompt fills the context of {self.context_length:,} tokens."
            )

    def example(self, messages: Sequence[Message], source: str) -> Example | None:
        """Return the example of a conversation, or None when it is left out.

        Raises `CorpusError` when it cannot be used.
        """
        assert self.template is not None
        ids: list[int] = []
        learned: list[bool] = []
        for pieces, is_learned in self.template.parts(messages):
            part = self._encode(pieces, source)
            ids += part
            learned += [is_learned] * len(part)
        room = self.context_length + 1
        if True not in learned[1:room]:
            return self._too_long(learned.index(True), source)
        self.cut += len(ids) > room
        return Example(np.array(ids[:room]), np.array(learned[:room]))

    def examples(self, conversations: Iterable[tuple[Sequence[Message], str]]) -> list[Example]:
        """Return the examples of (messages, source), without those that are left out."""
        made = (self.example(messages, source) for messages, source in conversations)
        return some([example for example in made if example is not None])

    def pairs(self, preferences: Iterable[Preference]) -> list[tuple[Preference, Pair | None]]:
        """Return preferences with the examples of their answers, or None if a prompt is too long.

        Pairs whose answers are equal after the cut are left out: they have no difference to learn from.
        """
        pairs: list[tuple[Preference, Pair | None]] = []
        for preference in preferences:
            # Earlier answers belong to the prompt: only the last one is rewarded.
            asked = [replace(message, is_learned=False) for message in preference.prompt]
            skipped = self.skipped
            chosen, rejected = (
                self.example([*asked, Message("assistant", answer)], preference.source)
                for answer in (preference.chosen, preference.rejected)
            )
            if chosen is None or rejected is None:
                self.skipped = skipped + 1  # one record, whose prompt is too long for both
                pairs.append((preference, None))
            elif np.array_equal(chosen.ids, rejected.ids) and not self.keep_equal:
                self.same += 1
            else:
                pairs.append((preference, (chosen, rejected)))
        return pairs

    def prompt(self, prompt: Prompt, room: int) -> list[int] | None:
        """Return the ids of a prompt that leaves `room` tokens for an answer, or None when it is left out.

        A base without a template, so without turns, continues the last message.
        """
        if self.template is None:
            self._refuse_unknown(prompt.messages[-1].content, prompt.source)
            ids = self.plain(prompt.messages[-1].content)
        else:
            ids = self._encode(self.template.pieces(prompt.messages, answer=True), prompt.source)
        if len(ids) + room > self.context_length:
            return self._too_long(len(ids), prompt.source, room)
        return ids

    def _encode(self, pieces: Sequence[Piece], source: str) -> list[int]:
        self._refuse_unknown(plain_text(pieces), source)
        return self.tokenizer.encode_pieces(pieces)

    def _refuse_unknown(self, text: str, source: str) -> None:
        unknown = self.tokenizer.unknown(text)
        if unknown:
            raise CorpusError(
                f"{source} contains what is not in the vocabulary of this run's {self.tokenizer.kind} tokenizer: "
                f"{', '.join(map(repr, unknown[:5]))}. Start from a base with a byte-level BPE tokenizer, which "
                "can represent any text."
            )

    def _too_long(self, length: int, source: str, room: int = 1) -> None:
        if not self.skip_long:
            raise CorpusError(
                f"{source}: the prompt has {length} tokens, which with {room} for an answer is more than the "
                f"model's context of {self.context_length}. Shorten it, leave such records out with --too-long "
                f"skip, or start from a base with a longer context."
            )
        self.skipped += 1


def count_targets(targets: Tensor) -> int:
    """Return how many targets count."""
    return int((targets != IGNORE).sum())


def some(made: list[Kept]) -> list[Kept]:
    """Return what was made of some records. Raises `CorpusError` when it is empty."""
    if not made:
        raise CorpusError(
            "No record is left to learn from or to measure on: none has an answer, or two different ones, within "
            "the model's context. Use shorter records, more records, or a base with a longer context."
        )
    return made
