"""`glassgpt model` prints exact parameters and refuses what it does not know."""

from __future__ import annotations

import pytest

from glassgpt.cli.model import model
from glassgpt.model.presets import PRESETS
from tests.cli.conftest import Command, refused


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def test_the_default_is_nano(glassgpt: Command):
    printed = glassgpt("model").output
    assert "nano: 4 layers, 4 heads, 128 wide; rotary positions, rmsnorm, swiglu, full attention" in printed
    assert "384 x 128" in printed
    assert "923,008" in printed
    assert "3.69 MB" in printed  # 4 bytes for each of the weights


def test_gpt2_has_its_known_size(glassgpt: Command):
    printed = glassgpt("model", "gpt2-small", "--batch-size=1").output
    assert "124,439,808" in printed
    assert "854 M" in printed  # FLOPs a token: 6 N and attention
    assert "1 text of 1,024 tokens" in printed


def test_every_part_can_be_replaced(glassgpt: Command):
    """Only the vocabulary and the context could be; `--n-layer` had no answer but a list of options."""
    assert "162,419,712" in glassgpt("model", "gpt2-small-untied", "--context-length", "256").output
    assert f"{923_008 + 1024 * 128:,}" in glassgpt("model", "nano", "--vocab-size=2048").output
    assert "6 layers" in glassgpt("model", "--n-layer=6").output
    changed = glassgpt("model", "gpt2-small", "--norm", "rmsnorm", "--norm-bias=false", "--n-head=6").output
    assert "12 layers, 6 heads, 768 wide; learned positions, rmsnorm, gelu_tanh" in changed
    refused(glassgpt("model", "--n-head=7"), "n_embd = 128 cannot be shared among n_head = 7")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_shown_and_named_in_the_help(name: str, glassgpt: Command):
    assert name in glassgpt("model", name).output
    assert model.__doc__ is not None
    assert name in model.__doc__


def test_mistakes_are_config_errors(glassgpt: Command):
    refused(glassgpt("model", "nanno"), "Did you mean nano?")
    refused(glassgpt("model", "--vocab-size=0"), "vocab_size = 0")
    refused(glassgpt("model", "--batch-size=0"), "batch_size = 0")


def test_a_narrow_window_breaks_names_only_between_their_parts(
    glassgpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = glassgpt("model", "nano").output.split()
    assert "…" not in "".join(words)
    assert {"token_embedding.", "query_norm.weight", "key_norm.weight", "blocks.*.mlp.gate."} <= set(words)
