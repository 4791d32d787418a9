"""Read a text back into the choices that made it, or say exactly where it stops being a story.

Because no two options of a menu begin the same way, reading needs neither search nor lookahead: at each
choice at most one option agrees with the text. So the place where a text leaves the grammar is exact, to
the character: everything before it is the beginning of some story, and with one more character it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from glassgpt.corpus.tinytales.grammar import Context, Grammar, Menu, tell
from glassgpt.corpus.tinytales.sentences import storybook

SHOWN = 8
"""Most continuations that `Parse.expected` lists."""

END = "the end of the story"


@dataclass(frozen=True, slots=True)
class Parse:
    """The result of reading a text.

    `valid`: the text is a whole story. `complete`: a story came to its end (more text may follow, which
    makes it invalid). `breaks_at`: the character at which the text leaves the grammar; None if it never
    does, as in a whole story or one cut short. `expected`: what could have been there or could come next.
    `choices` and `log2_probability` (in bits, never positive) belong to valid texts only.
    """

    valid: bool
    complete: bool
    choices: tuple[int, ...] | None
    breaks_at: int | None
    expected: tuple[str, ...]
    log2_probability: float | None


class _Stop(Exception):
    """The text went another way, or ended."""


class _Read:
    """A teller that takes the option which agrees with the text."""

    def __init__(self, text: str, start: int):
        self.text = text
        self.at = start
        self.choices: list[int] = []
        self.bits = 0.0
        self.expected: tuple[str, ...] = ()

    def choose(self, menu: Menu, context: Context) -> int:
        """Find the one option with which the text continues."""
        leads = menu.leads(context)
        for index, lead in enumerate(leads):
            if self.text.startswith(lead, self.at):
                self.choices.append(index)
                self.bits += menu.bits[index]
                return index
        raise self.stop(leads)

    def say(self, text: str) -> None:
        """Step over text that must be here."""
        reach = agreement(text, self.text, self.at)
        self.at += reach
        if reach < len(text):
            raise self.stop([text[reach:]])

    def stop(self, leads: list[str]) -> _Stop:
        """Move to the first character that agrees with none of `leads`; keep those that matched up to it."""
        ahead = [agreement(lead, self.text, self.at) for lead in leads]
        furthest = max(ahead)
        near = [shown(lead) for lead, reach in zip(leads, ahead, strict=True) if reach == furthest]
        self.expected = tuple(dict.fromkeys(near))[:SHOWN]
        self.at += furthest
        return _Stop()


def shown(lead: str) -> str:
    """Return a readable name for a continuation."""
    return lead.strip() or ("a new paragraph" if "\n" in lead else "a space")


def agreement(lead: str, text: str, start: int) -> int:
    """Return how many characters of `lead` match `text` from `start` on."""
    length = min(len(lead), len(text) - start)
    return next((at for at in range(length) if lead[at] != text[start + at]), length)


def parse(text: str, grammar: Grammar | None = None) -> Parse:
    """Read a text as a story (of the built-in world, or of another grammar).

    Space around the text is ignored; positions count in the text as given.
    """
    teller = _Read(text.rstrip(), start=len(text.rstrip()) - len(text.strip()))
    try:
        tell(grammar or storybook(), teller)
    except _Stop:
        # A text that ran out may have ended on the space that was stripped: it is cut short, not wrong.
        breaks_at = None if teller.at >= len(teller.text) else teller.at
        return Parse(False, False, None, breaks_at, teller.expected, None)
    if teller.at < len(teller.text):
        return Parse(False, True, None, teller.at, (END,), None)
    return Parse(True, True, tuple(teller.choices), None, (), -teller.bits)
