"""Presets have the parameter counts that their sources give, counted on the real module."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from glassgpt.errors import ConfigError
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.presets import PRESETS, get_preset
from glassgpt.model.summary import count_parameters


def count(config: ModelConfig) -> int:
    with torch.device("meta"):
        return GPT(config).num_parameters()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("nano", 923_008),
        ("shakespeare-char", 804_096),
        ("notebook", 13_716_049),
        ("gpt2-small", 124_439_808),
        ("gpt2-small-untied", 163_009_536),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_parameter_counts(name: str, parameters: int):
    assert count(get_preset(name)) == parameters


def test_every_preset_is_counted_without_torch_too():
    for config in PRESETS.values():
        assert count_parameters(config) == count(config)


def test_a_shorter_context_drops_position_rows_only():
    assert count(replace(get_preset("gpt2-small-untied"), context_length=256)) == 162_419_712


def test_nano_is_the_default():
    assert replace(get_preset("nano"), vocab_size=ModelConfig().vocab_size) == ModelConfig()


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean gpt2-small"):
        get_preset("gpt2_small")
    with pytest.raises(ConfigError, match="There are: nano, "):
        get_preset("???")
