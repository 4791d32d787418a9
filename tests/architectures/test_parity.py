"""Every family computes the same as in transformers, and converts back and forth without loss."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.architectures.configs import family_in, from_hugging_face, to_hugging_face
from glassgpt.architectures.families import family_of
from glassgpt.architectures.weights import our_recipes, their_recipes
from glassgpt.errors import GlassGPTError, ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.summary import parameter_shapes

sys.path.insert(0, str(Path(__file__).parent))
import references


def ours(reference: Any) -> GPT:
    """Return our model with the weights of theirs."""
    content = reference.config.to_dict()
    config = from_hugging_face(content)
    theirs = reference.state_dict()
    recipes = our_recipes(config, family_in(content))
    model = GPT(config)
    model.load_state_dict({name: match.join(theirs.__getitem__) for name, match in recipes.items()})
    return model.eval()


@pytest.mark.parametrize("kind", references.KINDS)
@torch.no_grad()
def test_same_logits_in_and_out(kind: str) -> None:
    import transformers

    reference = references.make(kind)
    model = ours(reference)
    ids = torch.randint(97, (2, 40))
    expected = reference(ids).logits
    torch.testing.assert_close(model(ids), expected, atol=1e-4, rtol=0)

    config = model.config
    back = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**to_hugging_face(config))
    ).eval()
    weights = model.state_dict()
    recipes = their_recipes(config, family_of(config))
    made = {name: match.cut(name, weights.__getitem__) for name, match in recipes.items()}
    assert {name: match.their_shape(name) for name, match in recipes.items()} == {
        name: tuple(tensor.shape) for name, tensor in made.items()
    }
    missing, unexpected = back.load_state_dict(made, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}  # tied to the embedding
    torch.testing.assert_close(back(ids).logits, expected, atol=1e-4, rtol=0)
    assert from_hugging_face(back.config.to_dict()) == config


def test_older_files_keep_rotary_settings_elsewhere() -> None:
    content = references.make("llama").config.to_dict()
    del content["rope_parameters"]
    content |= {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    config = from_hugging_face(content)
    assert (config.rope_theta, config.rope_scaling, config.rope_factor) == (500.0, "linear", 2.0)
    del content["rope_scaling"]
    assert from_hugging_face(content).rope_scaling == "none"


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("llama", {"model_type": "mamba"}, "mamba"),
        ("llama", {"model_type": None}, "None"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantized"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ("gpt2", {"activation_function": "mish"}, "mish"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("qwen3-sliding", {"layer_types": ["full_attention", "sliding_attention"]}, "layers"),
        ("llama", {"num_key_value_heads": 3}, "n_kv_head"),
    ],
)
def test_unsupported_settings_are_named(kind: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(GlassGPTError, match=named):
        from_hugging_face(references.make(kind).config.to_dict() | changes)


def test_a_missing_setting_is_named() -> None:
    content = references.make("llama").config.to_dict()
    del content["hidden_size"]
    with pytest.raises(ModelError, match="hidden_size"):
        from_hugging_face(content)


def switches(*names: str) -> Any:
    return st.fixed_dictionaries({name: st.booleans() for name in names})


ROTARY = st.builds(
    lambda head, groups, width, scaling, flags: ModelConfig(
        vocab_size=31, context_length=24, n_layer=2, n_head=2 * groups, n_kv_head=groups, n_head_dim=head,
        n_embd=width, rope_scaling=scaling, rope_factor=1.0 if scaling == "none" else 4.0,
        rope_original_length=8 if scaling == "llama3" else None, **flags,
    ),
    st.sampled_from([2, 6, 8]), st.integers(1, 3), st.sampled_from([8, 12]),
    st.sampled_from(["none", "linear", "llama3"]),
    switches("qk_norm", "qkv_bias", "attention_bias", "tied_head"),
)  # fmt: skip
LEARNED = st.builds(
    lambda hidden, activation, flags: ModelConfig(
        vocab_size=31, context_length=24, n_layer=2, n_head=2, n_embd=8, n_hidden=hidden, positions="learned",
        norm="layernorm", activation=activation, qk_norm=False, **flags,
    ),
    st.sampled_from([None, 20]), st.sampled_from(["relu", "gelu", "gelu_tanh"]),
    switches("qkv_bias", "attention_bias", "mlp_bias", "norm_bias", "tied_head"),
)  # fmt: skip


@settings(max_examples=25)
@given(ROTARY | LEARNED)
@torch.no_grad()
def test_any_model_of_a_family_comes_back_the_same(config: ModelConfig) -> None:
    family = family_of(config)
    model = GPT(config).eval()
    for parameter in model.parameters():
        parameter.normal_()
    weights = model.state_dict()
    theirs = {
        name: match.cut(name, weights.__getitem__) for name, match in their_recipes(config, family).items()
    }
    again = from_hugging_face(to_hugging_face(config))
    recipes = our_recipes(again, family)
    assert {name: match.shape() for name, match in recipes.items()} == parameter_shapes(again)
    back = GPT(again).eval()
    back.load_state_dict({name: match.join(theirs.__getitem__) for name, match in recipes.items()})
    ids = torch.randint(31, (1, 24))
    torch.testing.assert_close(back(ids), model(ids))
