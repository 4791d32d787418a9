"""LoRA: no effect at first, the formula of the paper, merged equals unmerged, and PEFT itself agrees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from glassgpt.adapters.config import PARTS, LoRAConfig
from glassgpt.adapters.lora import add_lora, load_corrections, lora_layers, merge, switched_off
from glassgpt.adapters.peft_format import merge_adapter, save_adapter
from glassgpt.errors import ConfigError, ModelError
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.presets import GPT2_SMALL

QWEN3 = ModelConfig(vocab_size=53, context_length=16, n_layer=2, n_head=4, n_kv_head=2, n_embd=32)
LLAMA = replace(QWEN3, qk_norm=False, tied_head=False)
GPT2 = replace(GPT2_SMALL, vocab_size=53, context_length=16, n_layer=2, n_head=4, n_embd=32, dropout=0.0)
IDS = torch.arange(24).reshape(2, 12) % 53


def with_corrections(config: ModelConfig, lora: LoRAConfig, seed: int = 0) -> GPT:
    """A random model whose corrections are no longer zero."""
    torch.manual_seed(seed)
    model = add_lora(GPT(config), lora).eval()
    for layer in lora_layers(model).values():
        for up in layer.up.values():
            torch.nn.init.normal_(up, std=0.3)
    return model


@pytest.mark.parametrize("config", [QWEN3, LLAMA, GPT2])
def test_at_first_the_model_is_its_base(config: ModelConfig) -> None:
    torch.manual_seed(1)
    model = GPT(config).eval()
    before = model(IDS)
    torch.testing.assert_close(add_lora(model, LoRAConfig(rank=4))(IDS), before, rtol=0, atol=0)


def test_a_correction_is_the_papers_formula_on_its_own_rows() -> None:
    model = with_corrections(QWEN3, LoRAConfig(rank=3, alpha=6, targets=("query", "value")))
    layer = lora_layers(model)["blocks.0.attention.qkv"]
    x = torch.randn(5, 32)
    change = layer(x) - layer.base(x)
    queries = 6 / 3 * x @ layer.down["query"].T @ layer.up["query"].T
    torch.testing.assert_close(change[:, :32], queries, rtol=1e-4, atol=1e-5)
    assert change[:, 32:48].abs().max() == 0  # the keys have none
    assert change[:, 48:].abs().max() > 0.01


def test_only_corrections_are_trained() -> None:
    model = with_corrections(QWEN3, LoRAConfig(rank=2))
    model(IDS).sum().backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained
    assert all(".down." in name or ".up." in name for name in trained)
    assert trained == {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("config", [QWEN3, LLAMA, GPT2])
@pytest.mark.parametrize("targets", [PARTS, ("query",), ("key", "down")])
def test_merged_and_unmerged_agree(config: ModelConfig, targets: tuple[str, ...]) -> None:
    model = with_corrections(config, LoRAConfig(rank=4, targets=targets))
    expected = model(IDS)
    merged = merge(model)
    assert not lora_layers(merged)
    assert all(weight.requires_grad for weight in merged.parameters())
    torch.testing.assert_close(merged(IDS), expected, rtol=1e-4, atol=1e-5)


def test_switched_off_it_is_the_base_and_then_itself_again() -> None:
    torch.manual_seed(0)
    base = GPT(QWEN3).eval()(IDS)
    model = with_corrections(QWEN3, LoRAConfig(rank=4))
    changed = model(IDS)
    with switched_off(model):
        torch.testing.assert_close(model(IDS), base, rtol=0, atol=0)
    torch.testing.assert_close(model(IDS), changed, rtol=0, atol=0)
    assert (changed - base).abs().max() > 0.01


def test_dropout_acts_on_corrections_in_training_alone() -> None:
    model = with_corrections(QWEN3, LoRAConfig(rank=4, dropout=0.5))
    assert torch.equal(model(IDS), model(IDS))
    model.train()
    assert not torch.equal(model(IDS), model(IDS))


@pytest.mark.parametrize("config", [QWEN3, LLAMA, GPT2])
@pytest.mark.parametrize("targets", [PARTS, ("query", "value"), ("key",), ("output", "up")])
def test_peft_loads_the_adapter_with_equal_logits(
    config: ModelConfig, targets: tuple[str, ...], tmp_path: Path
) -> None:
    """PEFT puts it on the base in the Hugging Face format; what PEFT makes itself is merged here with equal logits."""
    peft: Any = pytest.importorskip("peft")
    lora = LoRAConfig(rank=4, alpha=10, targets=targets)
    model = with_corrections(config, lora)
    expected = model(IDS)
    save_adapter(tmp_path / "adapter", model, lora, base="base")
    theirs = peft.PeftModel.from_pretrained(as_hugging_face(config), tmp_path / "adapter")
    torch.testing.assert_close(theirs(IDS).logits, expected, rtol=1e-4, atol=1e-4)
    torch.manual_seed(0)
    ours = merge_adapter(GPT(config).eval(), tmp_path / "adapter")
    torch.testing.assert_close(ours(IDS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [QWEN3, GPT2])
def test_an_adapter_that_peft_made_is_merged(config: ModelConfig, tmp_path: Path) -> None:
    peft: Any = pytest.importorskip("peft")
    names = ["c_attn", "c_fc"] if config is GPT2 else ["q_proj", "v_proj", "down_proj"]
    theirs = peft.get_peft_model(
        as_hugging_face(config),
        peft.LoraConfig(
            r=5, lora_alpha=7, target_modules=names, fan_in_fan_out=config is GPT2, task_type="CAUSAL_LM"
        ),
    )
    for name, weight in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    theirs.eval().save_pretrained(tmp_path / "adapter")
    torch.manual_seed(0)
    ours = merge_adapter(GPT(config).eval(), tmp_path / "adapter")
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)


def test_an_adapter_of_another_shape_is_refused(tmp_path: Path) -> None:
    lora = LoRAConfig(rank=2)
    save_adapter(tmp_path / "adapter", with_corrections(QWEN3, lora), lora, base="base")
    with pytest.raises(ModelError, match="does not fit"):
        merge_adapter(GPT(replace(QWEN3, n_layer=1)), tmp_path / "adapter")
    with pytest.raises(ModelError, match="does not fit"):
        merge_adapter(GPT(replace(QWEN3, n_embd=64)), tmp_path / "adapter")


def test_an_adapter_that_is_no_plain_lora_is_refused(tmp_path: Path) -> None:
    lora = LoRAConfig(rank=2)
    save_adapter(tmp_path / "adapter", with_corrections(QWEN3, lora), lora, base="base")
    about = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({**about, "use_dora": True}))
    with pytest.raises(ModelError, match="use_dora"):
        merge_adapter(GPT(QWEN3), tmp_path / "adapter")
    (tmp_path / "adapter/adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="not a whole adapter"):
        merge_adapter(GPT(QWEN3), tmp_path / "adapter")


def test_corrections_of_other_targets_do_not_load() -> None:
    tensors = {
        f"{name}.{half}.{part}": parameter
        for name, layer in lora_layers(with_corrections(QWEN3, LoRAConfig(rank=2))).items()
        for half, parameters in (("down", layer.down), ("up", layer.up))
        for part, parameter in parameters.items()
    }
    model = with_corrections(QWEN3, LoRAConfig(rank=2), seed=5)
    load_corrections(model, tensors)
    torch.testing.assert_close(
        lora_layers(model)["blocks.1.mlp.gate"].up["gate"], tensors["blocks.1.mlp.gate.up.gate"]
    )
    with pytest.raises(ModelError, match="does not fit"):
        load_corrections(with_corrections(QWEN3, LoRAConfig(rank=3)), tensors)
    with pytest.raises(ModelError, match="does not fit"):
        load_corrections(with_corrections(QWEN3, LoRAConfig(rank=2, targets=("query",))), tensors)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": -1}, "rank"),
        ({"alpha": 0.0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"targets": ("querry",)}, "query"),
        ({"targets": ()}, "names no matrix"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoRAConfig(**settings)


def test_a_model_without_the_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="swiglu"):
        add_lora(GPT(GPT2), LoRAConfig(rank=2, targets=("gate",)))


def as_hugging_face(config: ModelConfig) -> Any:
    """The model of seed 0 in transformers, converted by the tables of `architectures`."""
    import transformers

    from glassgpt.architectures.configs import to_hugging_face
    from glassgpt.architectures.families import family_of
    from glassgpt.architectures.weights import their_recipes

    torch.manual_seed(0)
    ours = GPT(config).state_dict()
    content = to_hugging_face(config)
    made: Any = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(content.pop("model_type"), **content)
    )
    recipes = their_recipes(config, family_of(config))
    made.load_state_dict(
        {name: match.cut(name, ours.__getitem__) for name, match in recipes.items()}, strict=False
    )
    return made.eval()
