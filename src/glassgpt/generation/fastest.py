"""Which form of the weights writes fastest here: what `--weights auto` chooses."""

from __future__ import annotations

import copy
from collections.abc import Callable

from glassgpt.generation.decoder import Decoder
from glassgpt.generation.engines import Decodes, loops_can_be_had
from glassgpt.generation.pace import group_of_steps, question_about, steps_in_a_group
from glassgpt.machine.compare import compare
from glassgpt.machine.kept import keep, measuring_is_off, recall
from glassgpt.machine.load import QUIET, used_by_others
from glassgpt.model.forms import FORMS, Form, store
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating

WORTH = 1.2
"""How many times as fast a form must write to be worth its rounding."""
SECONDS = 2.0
"""The longest time for each of the two comparisons."""


def fastest_form(model: GPT) -> Form:
    """Return the form that one text is written with fastest, as measured on this machine for the model's shape.

    What is not known is measured in pairs of steps, some seconds long, and kept while the machine is quiet. A form that
    rounds more must be `WORTH` times as fast beyond the noise. On other devices than the CPU, and where measuring is
    off, the weights stay as saved.
    """
    if measuring_is_off() or model.token_embedding.weight.device.type != "cpu":
        return "as-saved"
    if (known := known_form(model)) is not None:
        return known
    others, best, fastest, ratios = used_by_others(), "as-saved", steps_of(model), {}
    for form in ("bfloat16", "int8"):
        steps = steps_of(store(copy.deepcopy(model), form))
        found = compare(fastest, steps, lead=WORTH, seconds=SECONDS)
        ratios[f"{form} over {best}"] = found.ratio
        if found.wins:
            best, fastest = form, steps
    if max(others, used_by_others()) <= QUIET:
        keep(_question(model), best, **ratios)
    return best


def known_form(model: GPT) -> Form | None:
    """Return the form that was measured before on this machine for the model's shape, None if none was."""
    known = recall(_question(model))
    return next((form for form in FORMS if known is not None and known.choice == form), None)


def _question(model: GPT) -> str:
    return f"weights, {question_about(model)}"


def steps_of(model: GPT) -> Callable[[], None]:
    """Return what takes some steps of one text, in the middle of the context.

    They take one thread: beside another program, several would wait for each other longer than for the weights.
    """
    decoder: Decodes = Decoder(model, 1)
    if loops_can_be_had(model):
        from glassgpt.generation.loop_engine import LoopDecoder

        decoder = LoopDecoder(model, 1)
    places = [model.config.context_length // 2]
    with evaluating(model):
        steps = group_of_steps(decoder, places, 1, steps_in_a_group(decoder, places))

    def take() -> None:
        with evaluating(model):
            steps()

    return take
