"""What to expect of a plan, in words: from the law of `quality`, and the words of `evaluation.quality_words`.

The law gives bits per byte above the best possible model. That remainder depends on the text; `PROSE` is that of the
fairy tales which the law was fitted to. So the words are for ordinary prose, and a guess for anything else.
"""

from __future__ import annotations

import math

from glassgpt.corpus.repeats import repeats_lines
from glassgpt.evaluation.quality_words import in_words
from glassgpt.evaluation.stories import story_source
from glassgpt.model.summary import block_parameters
from glassgpt.planning.plan import MOST_EPOCHS, Plan
from glassgpt.planning.quality import excess_bits
from glassgpt.planning.rules import bytes_per_token

PROSE = 1.29
"""Bits per byte that remain for fairy tales when model and text are infinite (docs/experiments.md)."""
MORE = 10
"""How many times the minutes or the text the second and third sentences ask about."""
CLEAR = 0.05
"""A difference in bits per byte that one would notice."""


def expectation(plan: Plan) -> tuple[str, ...]:
    """Return sentences on what the plan's model will write, and what more minutes or more text would change."""
    if story_source(plan.config.corpus.sources) is not None:
        return ()  # their grammar is known, and the run itself counts how many stories are valid
    if repeats := repeats_lines(plan.text.compressed):
        return repeats
    now = expected_bits(plan)
    if not math.isfinite(now):
        return ()
    longer, larger = expected_bits(plan, minutes=MORE), expected_bits(plan, minutes=MORE, text=MORE)
    first = f"Expect about {now:.1f} bits a byte if the text is ordinary prose: {in_words(now)}."
    if now - longer >= CLEAR:
        second = f"{MORE} times the minutes: about {longer:.1f}, {in_words(longer)}."
    else:
        second = f"More minutes alone would change little: this text is used up. {MORE} times both: about {larger:.1f}."
    if now - longer >= CLEAR and longer - larger >= CLEAR:
        second += f" {MORE} times the text as well: about {larger:.1f}."
    return first, second


def expected_bits(plan: Plan, *, minutes: float = 1, text: float = 1) -> float:
    """Return the bits per byte that the best of the considered shapes should reach on prose."""
    unique = plan.text.bytes * text
    found = [math.inf]
    for candidate in plan.considered:
        if not math.isfinite(candidate.excess):
            continue
        tokens = candidate.tokens_per_second * plan.seconds * minutes
        seen = min(tokens * bytes_per_token(plan.text, candidate.model.vocab_size), MOST_EPOCHS * unique)
        found.append(PROSE + excess_bits(block_parameters(candidate.model), seen, unique))
    return min(found)
