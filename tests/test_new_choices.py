"""A choice that somebody adds to the config is refused by name wherever it is not supported yet.

A new activation in a GPT-2 model once passed a list of what is *not* supported and was exported as GELU, a forgotten
norm became LayerNorm, and new positions were left out. Here a choice is invented as a contributor would add it: only
to the config's list. Activations and norms need only one entry (`model/parts.py`): they are built, counted, trained
and generated from, and a family that has no name for them refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import add_lora
from glassgpt.adapters.peft_format import merge_adapter, save_adapter
from glassgpt.architectures.configs import to_hugging_face
from glassgpt.architectures.families import family_of, lora_module
from glassgpt.architectures.llama_cpp import architecture
from glassgpt.architectures.weights import refuse_left_out
from glassgpt.errors import ModelError
from glassgpt.model import config as choices
from glassgpt.model import summary
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.model.parts import ACTIVATIONS, NORMS, Activation, Norm
from glassgpt.training.losses import next_token_loss

SMALL: dict[str, Any] = {"vocab_size": 31, "context_length": 16, "n_layer": 1, "n_head": 2, "n_embd": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"positions": "learned", "norm": "layernorm", "activation": "gelu_tanh", "qk_norm": False},
    "llama": {"qk_norm": False},
    "mistral": {"qk_norm": False, "attention": "sliding", "window": 4},
    "qwen2": {"qk_norm": False, "qkv_bias": True},
    "qwen3": {},
}
INVENTED = {
    "positions": ("POSITIONS", "alibi"),
    "attention": ("ATTENTIONS", "sinks"),
    "rope_scaling": ("ROPE_SCALINGS", "yarn"),
}


def model_of(config: ModelConfig) -> GPT:
    """A model with existing parts whose config names the invented ones, as if they were implemented."""
    plain = {option: getattr(ModelConfig(**SMALL), option) for option in INVENTED}
    changes = {name: plain[name] for name, (_, value) in INVENTED.items() if getattr(config, name) == value}
    reach = {"window": None, "stride": None} if "attention" in changes else {}
    model = GPT(replace(config, **changes, **reach))
    model.config = config
    return model


def to_onnx(config: ModelConfig) -> Any:
    from glassgpt.interop.onnx_file import Graph

    return Graph(model_of(config))(torch.ones(1, 3, dtype=torch.int64))


PLACES: dict[str, Callable[[ModelConfig], Any]] = {
    "the model": lambda config: GPT(config)(torch.ones(1, 3, dtype=torch.int64)),
    "its table of weights": summary.rows,
    "its memory": lambda config: summary.training_bytes(config, batch_size=2),
    "its family": family_of,
    "config.json": to_hugging_face,
    "llama.cpp": architecture,
    "an adapter's modules": lambda config: lora_module(config, 0, "query"),
    "onnx": to_onnx,
}


@pytest.fixture(params=INVENTED)
def option(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    names, value = INVENTED[request.param]
    monkeypatch.setattr(choices, names, (*getattr(choices, names), value))
    return request.param


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_place_refuses_it_by_name(option: str, family: str, place: Callable[[ModelConfig], Any]) -> None:
    if option == "rope_scaling" and (family == "gpt2" or place in (summary.rows, PLACES["its memory"])):
        pytest.skip("it has no effect there")
    value = INVENTED[option][1]
    settings = {**SMALL, **FAMILIES[family], option: value}
    if option == "attention":
        settings["window"] = 4
    config = ModelConfig(**settings)
    with pytest.raises(ModelError, match=f"{option} = '{value}'"):
        place(config)


def test_an_adapter_on_it_is_refused_by_name(option: str, tmp_path: Path) -> None:
    if option == "rope_scaling":
        pytest.skip("its weights are the same")
    lora = LoRAConfig(rank=2)
    save_adapter(tmp_path / "adapter", add_lora(GPT(ModelConfig(**SMALL)), lora), lora, base="base")
    settings = {**SMALL, option: INVENTED[option][1]} | ({"window": 4} if option == "attention" else {})
    with pytest.raises(ModelError, match=INVENTED[option][1]):
        merge_adapter(model_of(ModelConfig(**settings)), tmp_path / "adapter")


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_a_format_does_not_know_are_not_left_out(family: Any) -> None:
    from glassgpt.architectures.llama_cpp import pieces

    config = ModelConfig(**{**SMALL, **FAMILIES[family]})
    shapes = summary.parameter_shapes(config)
    refuse_left_out(config, family_of(config), shapes)
    with pytest.raises(ModelError, match=r"blocks\.0\.mlp\.router\.weight"):
        refuse_left_out(config, family_of(config), [*shapes, "blocks.0.mlp.router.weight"])
    if family != "mistral":
        with pytest.raises(ModelError, match=r"mlp\.router"):
            pieces(config, {**shapes, "blocks.0.mlp.router.weight": (2, 2)})


def lifted_norm(width: int, epsilon: float, bias: bool) -> nn.Module:
    assert not bias
    return nn.RMSNorm(width, eps=2 * epsilon)


@pytest.fixture(params=["activation", "gated activation", "norm"])
def new_part(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """An activation or a norm added by a script: the settings that name it."""
    if request.param == "norm":
        NORMS.add("lifted", Norm(lifted_norm))
        yield {"norm": "lifted"}
        NORMS.remove("lifted")
        return
    ACTIVATIONS.add(
        "snake", Activation(lambda x: x + x.sin().square(), gated=request.param.startswith("gated"))
    )
    yield {"activation": "snake"}
    ACTIVATIONS.remove("snake")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_part_is_built_counted_trained_and_written_to_onnx(
    family: str, new_part: dict[str, str]
) -> None:
    config = ModelConfig(**{**SMALL, **FAMILIES[family], **new_part})
    torch.manual_seed(0)
    model = GPT(config)
    assert summary.count_parameters(config) == model.num_parameters()
    assert summary.training_bytes(config, batch_size=2).total > 0
    ids = torch.arange(12).unsqueeze(0)
    next_token_loss(model, ids[:, :-1], ids[:, 1:]).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    from glassgpt.interop.onnx_file import Graph

    torch.testing.assert_close(Graph(model.eval())(ids), model(ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["its family", "config.json", "llama.cpp", "an adapter's modules"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_part_is_refused_by_name_where_a_format_has_none(
    family: str, place: str, new_part: dict[str, str]
) -> None:
    ((option, value),) = new_part.items()
    with pytest.raises(ModelError, match=f"{option} = '{value}'"):
        PLACES[place](ModelConfig(**{**SMALL, **FAMILIES[family], **new_part}))


def test_every_choice_there_is_can_be_built_and_counted() -> None:
    every: dict[str, Iterable[str]] = {
        option: getattr(choices, names) for option, (names, _) in INVENTED.items()
    }
    for option, values in {**every, "activation": ACTIVATIONS, "norm": NORMS}.items():
        for value in values:
            extra = {
                "sliding": {"window": 4}, "strided": {"stride": 4}, "llama3": {"rope_original_length": 8},
            }.get(value, {})  # fmt: skip
            config = ModelConfig(**{**SMALL, option: value, **extra})
            assert summary.count_parameters(config) == GPT(config).num_parameters()
            assert summary.training_bytes(config, batch_size=2).total > 0
