"""What is said about the form of the weights."""

from __future__ import annotations

import pytest
import torch

from glassgpt.cli import terminal
from glassgpt.model import int8
from glassgpt.model.config import ModelConfig
from glassgpt.model.forms import Form, store
from glassgpt.model.gpt import GPT


def model(form: Form) -> GPT:
    torch.manual_seed(0)
    return store(GPT(ModelConfig(vocab_size=31, context_length=8, n_layer=1, n_head=1, n_embd=16)), form)


@pytest.mark.parametrize(
    ("form", "said"),
    [("as-saved", "The weights stay as saved"), ("int8", "The weights are rounded to int8")],
)
def test_auto_says_what_it_chose(form: Form, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say_form(model(form), "auto")
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
@pytest.mark.parametrize("fast", [True, False])
def test_a_form_that_saves_no_time_is_told(
    form: Form, fast: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(int8, "loops_can_write", lambda _: fast)
    monkeypatch.setattr(int8, "has_integer_kernel", lambda _: False)
    terminal.say_form(model(form), form)
    assert (f"no fast {form} product" in capsys.readouterr().err) != fast
