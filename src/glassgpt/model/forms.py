"""How many bits a model's matrices are stored in: as they were saved, or rounded to 16 or 8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from glassgpt.model.gpt import GPT
from glassgpt.model.int8 import Int8Linear, quantize
from glassgpt.model.stored import Bfloat16Linear, halve

Form = Literal["as-saved", "bfloat16", "int8"]
FORMS: dict[Form, Callable[[GPT], GPT]] = {"as-saved": lambda same: same, "bfloat16": halve, "int8": quantize}
"""From the most exact to the smallest."""


def store(model: GPT, form: Form) -> GPT:
    """Round the matrices of a model, which must be as it was saved; return the same model."""
    return FORMS[form](model)


def form_of(model: GPT) -> Form:
    """Return how a model's matrices are stored."""
    kinds = {type(module) for module in model.modules()}
    return "int8" if Int8Linear in kinds else "bfloat16" if Bfloat16Linear in kinds else "as-saved"
