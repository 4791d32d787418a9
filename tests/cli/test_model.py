"""`glassgpt model` prints exact parameters and refuses what it does not know."""

from __future__ import annotations

import pytest

from glassgpt.cli.model import model
from glassgpt.errors import ConfigError, RunError
from glassgpt.model.presets import PRESETS


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def test_the_default_is_nano(capsys: pytest.CaptureFixture[str]):
    model()
    printed = capsys.readouterr().out
    assert "nano: 4 layers, 4 heads, 128 wide; rotary positions, rmsnorm, swiglu, full attention" in printed
    assert "384 x 128" in printed
    assert "923,008" in printed
    assert "3.69 MB" in printed  # 4 bytes for each of the weights


def test_gpt2_has_its_known_size(capsys: pytest.CaptureFixture[str]):
    model("gpt2-small", batch_size=1)
    printed = capsys.readouterr().out
    assert "124,439,808" in printed
    assert "854 M" in printed  # FLOPs a token: 6 N and attention
    assert "1 text of 1,024 tokens" in printed


def test_sizes_can_be_replaced(capsys: pytest.CaptureFixture[str]):
    model("gpt2-small-untied", context_length=256)
    assert "162,419,712" in capsys.readouterr().out
    model("nano", vocab_size=2048)
    assert f"{923_008 + 1024 * 128:,}" in capsys.readouterr().out


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_shown_and_named_in_the_help(name: str, capsys: pytest.CaptureFixture[str]):
    model(name)
    assert name in capsys.readouterr().out
    assert model.__doc__ is not None
    assert name in model.__doc__


def test_mistakes_are_config_errors():
    with pytest.raises(RunError, match="Did you mean nano"):
        model("nanno")
    with pytest.raises(ConfigError, match="vocab_size = 0"):
        model(vocab_size=0)
    with pytest.raises(ConfigError, match="batch_size = 0"):
        model(batch_size=0)


def test_a_narrow_window_breaks_names_only_between_their_parts(
    glassgpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = glassgpt("model", "nano").output.split()
    assert "…" not in "".join(words)
    assert {"token_embedding.", "query_norm.weight", "key_norm.weight", "blocks.*.mlp.gate."} <= set(words)
