"""The whole model: reproducible weights, how they are drawn, gradients, and what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from glassgpt.errors import ModelError
from glassgpt.model.config import POSITIONS, ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.parts import ACTIVATIONS, NORMS

TINY = {"vocab_size": 19, "context_length": 12, "n_layer": 2, "n_embd": 16}


def build(seed: int = 0, **settings) -> GPT:
    torch.manual_seed(seed)
    return GPT(ModelConfig(**{**TINY, **settings}))


def loss_of(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


@pytest.mark.parametrize(
    ("positions", "norm", "activation"), list(itertools.product(POSITIONS, NORMS, ACTIVATIONS))
)
def test_every_combination_learns(positions: str, norm: str, activation: str):
    model = build(positions=positions, norm=norm, activation=activation)
    ids = torch.randint(19, (4, 13))
    assert loss_of(model, ids).item() == pytest.approx(math.log(19), abs=0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(12):
        optimizer.zero_grad()
        loss_of(model, ids).backward()
        optimizer.step()
    assert loss_of(model, ids).item() < 0.85 * math.log(19)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_same_seed_gives_the_same_weights():
    first, second, other = build(7), build(7), build(8)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    assert not torch.equal(first.token_embedding.weight, other.token_embedding.weight)


def test_weights_are_drawn_as_gpt2s():
    model = build(vocab_size=500, n_embd=128, n_layer=8, qkv_bias=True, mlp_bias=True, positions="learned")
    residual = 0.02 / math.sqrt(16)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().max() == 0
        elif "norm" in name:
            assert torch.equal(parameter, torch.ones_like(parameter))
        else:
            writes_to_stream = "attention.output" in name or "mlp.down" in name
            expected = residual if writes_to_stream else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.06), name
            assert abs(parameter.mean().item()) < 0.1 * expected


def test_a_tied_head_is_the_embedding():
    model = build()
    assert model.head_weight is model.token_embedding.weight
    assert model.head_bias is None
    assert not any(name.startswith("head") for name in model.state_dict())
    hidden = model.hidden(torch.tensor([[1, 2, 3]]))
    torch.testing.assert_close(model.logits(hidden), hidden @ model.token_embedding.weight.T)


def test_an_untied_head_has_its_own_weight_and_bias():
    model = build(tied_head=False, head_bias=True)
    torch.nn.init.normal_(model.head.bias)
    hidden = model.hidden(torch.tensor([[1, 2, 3]]))
    expected = hidden @ model.head_weight.T + model.head_bias
    torch.testing.assert_close(model(torch.tensor([[1, 2, 3]])), expected)


def test_biases_are_where_the_config_puts_them():
    places = {
        "qkv_bias": {"attention.qkv"},
        "attention_bias": {"attention.output"},
        "mlp_bias": {"mlp.gate", "mlp.up", "mlp.down"},
        "norm_bias": {"attention_norm", "mlp_norm"},
    }
    for setting, modules in places.items():
        model = build(**{setting: True}, norm="layernorm")
        biased = {name[9:-5] for name in model.state_dict() if name.startswith("blocks.0") and "bias" in name}
        assert biased == modules


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_activation_checkpointing_changes_no_gradient(dropout: float):
    ids = torch.randint(19, (2, 9))
    gradients = []
    for checkpointed in (False, True):
        model = build(dropout=dropout)
        model.checkpoint_activations = checkpointed
        torch.manual_seed(1)
        loss_of(model, ids).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.equal(plain, checkpointed)


def test_activation_checkpointing_keeps_less():
    def kept(model: GPT) -> int:
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss_of(model, torch.randint(19, (4, 13)))
        return sum(sizes.values())

    model = build(n_layer=6, n_embd=32)
    everything = kept(model)
    model.checkpoint_activations = True
    assert kept(model) < 0.5 * everything


def test_a_model_from_the_meta_device_is_complete_with_its_weights():
    model = build(positions="rotary")
    with torch.device("meta"):
        empty = GPT(model.config)
    empty.load_state_dict(model.state_dict(), assign=True)
    ids = torch.randint(19, (1, 12))
    torch.testing.assert_close(empty(ids), model(ids))
    assert not list(empty.buffers())


def test_invalid_inputs_are_refused():
    model = build()
    with pytest.raises(ModelError, match="13 tokens are more than the model's context_length of 12"):
        model(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ModelError, match=r"not \(3,\)"):
        model(torch.zeros(3, dtype=torch.long))
    with pytest.raises(ModelError, match=r"not \(1, 0\)"):
        model(torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(ModelError, match="outside the model's vocabulary of 19"):
        model(torch.tensor([[19]]))


def test_parameters_are_counted():
    model = build()
    everything = model.num_parameters()
    assert everything == sum(weight.numel() for weight in model.state_dict().values())
    model.token_embedding.requires_grad_(False)
    assert model.num_parameters(trainable_only=True) == everything - 19 * 16


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_give_nearly_the_same(dtype: torch.dtype):
    model = build().eval()
    ids = torch.randint(19, (2, 12))
    expected = model(ids)
    logits = model.to(dtype)(ids)
    assert logits.dtype == dtype
    torch.testing.assert_close(
        logits.float(), expected, atol=0.02 if dtype == torch.bfloat16 else 1e-5, rtol=0
    )
