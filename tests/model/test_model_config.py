"""The config fills in its defaults, survives TOML, and refuses invalid settings with a way out."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt import config as settings
from glassgpt.errors import ConfigError
from glassgpt.model.config import ModelConfig


def test_filled_in_sizes():
    config = ModelConfig(n_embd=96, n_head=6)
    assert (config.head_dim, config.kv_heads, config.mlp_width) == (16, 6, 256)
    assert ModelConfig(n_embd=128).mlp_width == 344  # 341.3 rounded up to a multiple of 8
    assert ModelConfig(activation="relu").mlp_width == 512
    assert ModelConfig(n_hidden=100).mlp_width == 100
    assert ModelConfig(n_kv_head=2).kv_heads == 2
    assert ModelConfig(attention="sliding", window=5).local_window == 5
    assert ModelConfig(attention="strided", stride=7).local_window == 7
    assert ModelConfig(attention="strided", stride=7, window=3).local_window == 3


@given(n_embd=st.integers(1, 500).map(lambda n: 8 * n))
def test_swiglu_has_about_the_parameters_of_a_plain_mlp(n_embd: int):
    gated = ModelConfig(n_embd=n_embd, n_head=1).mlp_width
    assert gated % 8 == 0
    assert 0 <= 3 * gated - 2 * 4 * n_embd < 3 * 8


def test_toml_round_trip():
    config = ModelConfig(attention="strided", stride=8, n_kv_head=2, norm="layernorm", norm_bias=True)
    values = settings.tomllib.loads(settings.to_toml(config))
    assert settings.from_dict(ModelConfig, values, origin="config.toml") == config


def test_a_bad_setting_in_a_file_is_a_config_error():
    with pytest.raises(ConfigError, match=r"Did you mean rotary\?"):
        settings.from_dict(ModelConfig, {"positions": "rotery"}, origin="config.toml")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"n_layer": 0}, "n_layer = 0"),
        ({"n_layer": 2.5}, "n_layer = 2.5"),
        ({"vocab_size": True}, "vocab_size = True"),
        ({"n_kv_head": -1}, "n_kv_head = -1"),
        ({"norm": "layer_norm"}, "Did you mean layernorm"),
        ({"activation": "x"}, "Choose one of: relu, gelu"),
        ({"attention": "slidng"}, "Did you mean sliding"),
        ({"n_embd": 130}, "multiple of n_head, for example 128"),
        ({"n_embd": 1}, "for example 8"),
        ({"n_kv_head": 3}, "n_kv_head = 3 does not divide n_head = 4"),
        ({"n_embd": 12}, "a head is n_embd / n_head = 3 wide"),
        ({"n_head_dim": 3}, "a head is n_head_dim = 3 wide"),
        ({"n_head_dim": 0}, "n_head_dim = 0"),
        ({"rope_scaling": "yarn"}, "Choose one of: none, linear, llama3"),
        ({"rope_factor": 2.0}, "no effect on rope_scaling = 'none'"),
        ({"rope_scaling": "llama3", "rope_factor": 2.0}, "needs rope_original_length"),
        ({"rope_scaling": "linear", "positions": "learned"}, "no effect on positions = 'learned'"),
        ({"rope_low_frequency": 5.0}, "below rope_high_frequency"),
        ({"positions": "sinusoidal", "n_embd": 9, "n_head": 3}, "n_embd = 9 is odd"),
        ({"attention": "sliding"}, "set window"),
        ({"attention": "strided"}, "set stride"),
        ({"window": 4}, "no effect on attention = 'full'"),
        ({"attention": "sliding", "window": 4, "stride": 2}, "remove stride"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"dropout": float("nan")}, "dropout = nan"),
        ({"rope_theta": 0.0}, "rope_theta = 0.0"),
        ({"norm_epsilon": float("inf")}, "norm_epsilon = inf"),
        ({"norm_bias": True}, "norm = 'layernorm'"),
        ({"head_bias": True}, "tied_head = false"),
    ],
)
def test_what_cannot_be_built_is_refused(values: dict, says: str):
    with pytest.raises(ConfigError) as error:
        ModelConfig(**values)
    assert says in str(error.value)


def test_config_presets_and_summary_need_no_torch():
    code = (
        "import sys; import glassgpt.model.config, glassgpt.model.presets, glassgpt.model.summary;"
        "import glassgpt.cli.model; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
