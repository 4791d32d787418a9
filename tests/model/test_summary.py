"""The summary's numbers, which come from the config alone, against the real module at work."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from glassgpt.model.config import POSITIONS, ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.parts import ACTIVATIONS, NORMS
from glassgpt.model.presets import get_preset
from glassgpt.model.summary import (
    count_parameters,
    flops_per_token,
    forward_bytes,
    inference_bytes,
    parameter_shapes,
    rows,
    training_bytes,
)
from glassgpt.training.losses import hidden_loss, token_losses_of


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    flag = st.booleans()
    norm = draw(st.sampled_from(NORMS.names()))
    tied = draw(flag)
    heads = draw(st.sampled_from([2, 4]))
    return ModelConfig(
        vocab_size=draw(st.integers(1, 40)),
        context_length=draw(st.integers(1, 20)),
        n_layer=draw(st.integers(1, 3)),
        n_head=heads,
        n_kv_head=draw(st.sampled_from([None, 1, 2])),
        n_head_dim=draw(st.sampled_from([None, 2, 6])),
        n_embd=heads * draw(st.sampled_from([2, 4, 6])),
        n_hidden=draw(st.none() | st.integers(1, 30)),
        positions=draw(st.sampled_from(POSITIONS)),
        norm=norm,
        norm_bias=norm == "layernorm" and draw(flag),
        activation=draw(st.sampled_from(ACTIVATIONS.names())),
        qk_norm=draw(flag),
        qkv_bias=draw(flag),
        attention_bias=draw(flag),
        mlp_bias=draw(flag),
        tied_head=tied,
        head_bias=not tied and draw(flag),
    )


@given(configs())
@settings(max_examples=60, deadline=None)
def test_shapes_and_parameters_equal_the_modules(config: ModelConfig):
    with torch.device("meta"):
        model = GPT(config)
    assert parameter_shapes(config) == {name: tuple(w.shape) for name, w in model.state_dict().items()}
    assert count_parameters(config) == model.num_parameters()
    assert sum(row.parameters for row in rows(config)) == model.num_parameters()


@pytest.mark.parametrize(
    ("tied", "activation", "kv_heads"), list(itertools.product((True, False), ("relu", "swiglu"), (None, 2)))
)
def test_flops_equal_what_torch_counts(tied: bool, activation: str, kv_heads: int | None):
    config = ModelConfig(
        vocab_size=50, context_length=32, n_layer=3, n_embd=32, n_kv_head=kv_heads,
        tied_head=tied, activation=activation, positions="learned",
    )  # fmt: skip
    model = GPT(config)
    ids = torch.randint(50, (2, 24))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        logits = model(ids)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert forward.get_total_flops() == 48 * flops_per_token(config, training=False, length=24)
    both = forward.get_total_flops() + backward.get_total_flops()
    assert both == 48 * flops_per_token(config, length=24)


def test_flops_of_gpt2_follow_kaplans_rule():
    """6 N for training with N = 124M less the table of positions, plus attention's 12 L C T."""
    config = get_preset("gpt2-small")
    expected = 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 768 * 1024
    assert flops_per_token(config) == pytest.approx(expected, rel=0.002)  # biases and norms are left out


@pytest.mark.parametrize("name", ["nano", "shakespeare-char", "notebook"])
def test_estimated_activations_are_near_the_measured(name: str):
    assert_near_measured(get_preset(name), batch_size=4)


@pytest.mark.parametrize(
    "parts",
    [
        {"activation": "relu2", "positions": "none", "qk_norm": False},
        {"norm": "layernorm", "n_kv_head": 1},
        {"dropout": 0.1},
        {"n_layer": 12, "n_embd": 64},
    ],
    ids=str,
)
def test_estimated_activations_of_other_parts(parts: dict):
    assert_near_measured(ModelConfig(vocab_size=300, context_length=128, **parts), batch_size=4)


@pytest.mark.parametrize("tied", [True, False])
def test_large_vocabularies_never_hold_all_logits(tied: bool):
    """2,048 tokens of 20,000 words would be 164 MB of logits, twice; the loss holds 48 MB of them at a time."""
    config = ModelConfig(
        vocab_size=20_000, context_length=128, n_layer=2, n_embd=32, n_head=2, tied_head=tied
    )
    assert_near_measured(config, batch_size=16)
    assert training_bytes(config, batch_size=16).activations < 4 * 2048 * 20_000
    larger = training_bytes(config, batch_size=16, device="cuda").activations
    assert larger - training_bytes(config, batch_size=16).activations == 4 * 20_000 * (
        2048 - (48 << 20) // 80_000
    )


NARROW = {"vocab_size": 300, "context_length": 384, "n_layer": 3, "n_head": 4, "n_embd": 32}
MASKED = (
    {},
    {"attention": "sliding", "window": 32},
    {"attention": "strided", "window": 32, "stride": 16},
    {"dropout": 0.1},
    {"dropout": 0.1, "attention": "sliding", "window": 32},
    {"n_kv_head": 1},
)
"""Ways to attend: with several texts in a row, or a window, a mask says which tokens see which."""


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("parts", MASKED, ids=str)
def test_masks_count(parts: dict, checkpointed: bool, segments: bool) -> None:
    """Each layer turns the mask into numbers and keeps them: packed rows once took far more than estimated."""
    assert_near_measured(
        ModelConfig(**NARROW, **parts), batch_size=4, segments=segments, checkpointed=checkpointed
    )


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("vocab_size", [300, 20_000])
@pytest.mark.parametrize(
    "parts",
    [
        *MASKED,
        *(
            {"activation": activation, "norm": "layernorm"}
            for activation in ("relu", "gelu", "gelu_tanh", "relu2")
        ),
        {"positions": "learned", "n_layer": 12},
    ],
    ids=str,
)
def test_estimated_forward_memory_is_near_the_measured(parts: dict, vocab_size: int, segments: bool) -> None:
    config = ModelConfig(**NARROW | {"vocab_size": vocab_size} | parts)
    model, ids = GPT(config).eval(), torch.randint(vocab_size, (4, config.context_length))
    with LivePeak() as memory, torch.no_grad():  # inference mode would hide what attention makes
        token_losses_of(model, model.hidden(ids, segments_BT=some_segments(ids) if segments else None), ids)
    assert 0.8 < memory.peak / forward_bytes(config, batch_size=4, segments=segments) < 1.25


def some_segments(ids_BT: torch.Tensor) -> torch.Tensor:
    return torch.arange(ids_BT.shape[1]).div(40, rounding_mode="floor").expand(ids_BT.shape).contiguous()


def assert_near_measured(
    config: ModelConfig, batch_size: int, *, segments: bool = False, checkpointed: bool = False
) -> None:
    model = GPT(config)
    model.checkpoint_activations = checkpointed
    ids = torch.randint(config.vocab_size, (batch_size, config.context_length))
    with LivePeak() as memory:
        hidden = model.hidden(ids, segments_BT=some_segments(ids) if segments else None)
        loss = hidden_loss(model, hidden, ids)
        if checkpointed:  # the recomputed block is part of the peak
            loss.backward()
    estimated = training_bytes(
        config, batch_size=batch_size, segments=segments, checkpoint_activations=checkpointed
    ).activations
    assert 0.9 < memory.peak / estimated < (1.3 if checkpointed else 1.1)


class LivePeak(TorchDispatchMode):
    """Measures the peak bytes of the tensors made inside the block; each storage counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        inputs = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)
        }
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in inputs:
                storage = leaf.untyped_storage()
                self.live[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.live = {key: kept for key, kept in self.live.items() if not kept[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return result


def test_bytes_add_up():
    config = get_preset("gpt2-small")
    training = training_bytes(config, batch_size=2)
    assert training.weights == 4 * 124_439_808
    assert (training.gradients, training.optimizer) == (training.weights, 2 * training.weights)
    assert training.total == 4 * training.weights + training.activations
    checkpointed = training_bytes(config, batch_size=2, checkpoint_activations=True)
    assert checkpointed.total < 0.65 * training.total
    chunk_and_head = (48 << 20) // (4 * 50257) * 4 * 50257 + 4 * 768 * 50257
    tokens_alone = training.activations - chunk_and_head
    assert training_bytes(config, batch_size=4).activations == 2 * tokens_alone + chunk_and_head


def test_cache_bytes_equal_the_caches():
    config = ModelConfig(n_kv_head=2)
    model = GPT(config)
    cache = model.new_cache(batch_size=3, capacity=50)
    held = cache.keys_LBKSD.nbytes + cache.values_LBKSD.nbytes
    inference = inference_bytes(config, batch_size=3, length=50)
    assert inference.cache == held
    assert inference.total == held + sum(weight.nbytes for weight in model.parameters())
    assert inference_bytes(config, bytes_per_number=2).weights == inference.weights // 2
