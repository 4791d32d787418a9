"""Which form of the weights writes fastest here: what `--weights auto` chooses."""

from __future__ import annotations

import copy

from glassgpt.generation.pace import Pace, known_pace, measure_pace
from glassgpt.machine.kept import measuring_is_off
from glassgpt.model.forms import FORMS, Form, store
from glassgpt.model.gpt import GPT

WORTH = 1.2
"""How many times as fast a form must write to be worth its rounding."""
SECONDS = 0.15
"""The longest time for each comparison, of which there are four for each form and engine."""


def fastest_form(model: GPT) -> Form:
    """Return the form that one text is written with fastest, by the measurements of this machine and model shape.

    What is not known is measured, in some seconds, and kept while the machine is quiet. A form that rounds more must be
    faster by `WORTH`. On other devices than the CPU, and where measuring is off, the weights stay as saved.
    """
    if measuring_is_off() or model.token_embedding.weight.device.type != "cpu":
        return "as-saved"
    best: Form = "as-saved"
    paces: dict[Form, Pace] = {}
    for form in FORMS:
        stored = model if form == "as-saved" else store(copy.deepcopy(model), form)
        paces[form] = known_pace(stored) or measure_pace(stored, seconds=SECONDS)
        if paces[form].one > WORTH * paces[best].one:
            best = form
    return best
