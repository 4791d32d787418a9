"""What llama.cpp gets of a model; the tests of `interop` check that it then computes the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from glassgpt.architectures.llama_cpp import architecture, pair_neighbours, pieces, rope_factors, zero_biases
from glassgpt.errors import ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.presets import PRESETS
from glassgpt.model.summary import parameter_shapes

NANO = PRESETS["nano"]


def test_halves_become_neighbours_in_each_head() -> None:
    rows = torch.arange(12)  # two heads of six: 0..5 and 6..11
    assert pair_neighbours(rows, 2).tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert pair_neighbours(rows.unsqueeze(1), 2).shape == (12, 1)


def test_all_numbers_arrive_once() -> None:
    config = replace(NANO, n_kv_head=2, qk_norm=False)
    shapes = parameter_shapes(config)
    made = pieces(config, shapes)
    total = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert sum(torch.Size(piece.shape).numel() for piece in made.values()) == total
    assert made["blk.3.attn_q.weight"].heads == 4
    assert made["blk.3.attn_v.weight"].heads is None
    assert pieces(replace(config, qk_norm=True), shapes | {})["blk.0.attn_q.weight"].heads is None


def test_gpt2_gets_the_biases_it_lacks() -> None:
    bare = PRESETS["shakespeare-char"]
    assert len(zero_biases(bare)) == 6 * bare.n_layer + 1
    assert not zero_biases(PRESETS["gpt2-small"])
    assert not zero_biases(NANO)


def test_rotary_factors_only_where_pairs_differ() -> None:
    assert rope_factors(NANO) is None
    config = replace(NANO, rope_scaling="llama3", rope_factor=8.0, rope_original_length=64, qk_norm=False)
    factors = rope_factors(config)
    assert factors is not None
    assert factors[0] == 1.0
    assert factors[-1] == 8.0


@pytest.mark.parametrize(
    ("config", "option"),
    [
        (replace(NANO, attention="sliding", window=8), "window = 8"),
        (replace(NANO, qkv_bias=True), "qkv_bias"),
        (replace(PRESETS["shakespeare-char"], activation="relu"), "relu"),
        (replace(NANO, rope_scaling="llama3", rope_factor=2.0, rope_original_length=8), "rope_scaling"),
        (PRESETS["notebook"], "head_bias"),
    ],
)
def test_what_it_cannot_compute_is_named(config: ModelConfig, option: str) -> None:
    with pytest.raises(ModelError, match=option):
        architecture(config)
