"""An adapter from elsewhere, damaged or of another kind: it is merged, or refused and the model is unchanged.

Every setting of `adapter_config.json` gets values of every wrong type, and every tensor wrong shapes, types and names.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from glassgpt.adapters.config import LoRAConfig
from glassgpt.adapters.lora import add_lora
from glassgpt.adapters.peft_format import merge_adapter, save_adapter
from glassgpt.errors import GlassGPTError
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT

CONFIG = ModelConfig(vocab_size=53, context_length=16, n_layer=1, n_head=4, n_kv_head=2, n_embd=32)
SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
A, B = (f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight" for half in "AB")
HUGE = 10**30
NESTED = "[" * 100_000 + "]" * 100_000
Change = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that fits the model. Copy it, never change it."""
    torch.manual_seed(1)
    model = add_lora(GPT(CONFIG), LoRAConfig(rank=2))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("whole") / "adapter"
    save_adapter(folder, model, LoRAConfig(rank=2), base="base")
    return folder


@pytest.fixture
def adapter(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "adapter"))


def fresh() -> GPT:
    torch.manual_seed(0)
    return GPT(CONFIG)


def refused(folder: Path) -> str:
    """Return the message that refuses an adapter; the model must be unchanged."""
    model = fresh()
    with pytest.raises(GlassGPTError) as error:
        merge_adapter(model, folder)
    assert unchanged(model)
    assert len(str(error.value)) < 1000
    return str(error.value)


def unchanged(model: GPT) -> bool:
    before = fresh().state_dict()
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def with_settings(folder: Path, **changed: Any) -> Path:
    about = json.loads((folder / SETTINGS).read_text())
    (folder / SETTINGS).write_text(json.dumps({**about, **changed}))
    return folder


def with_tensors(folder: Path, change: Change) -> Path:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)
    return folder


def test_the_whole_one_is_merged(adapter: Path) -> None:
    assert not unchanged(merge_adapter(fresh(), adapter))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("r", "2"), ("r", [2]), ("r", {"a": 2}), ("r", 0), ("r", -1), ("r", 10**9), ("r", HUGE), ("r", 2.5),
        ("r", True),        ("r", None), ("lora_alpha", "16"), ("lora_alpha", [16]), ("lora_alpha", float("nan")),
        ("lora_alpha", float("inf")), ("lora_alpha", True), ("lora_alpha", None), ("lora_alpha", HUGE**12),
        ("peft_type", "IA3"), ("peft_type", None), ("peft_type", ["LORA"]), ("peft_type", 7), ("bias", "all"),
        ("bias", True), ("use_rslora", "yes"), ("use_rslora", 1), ("alpha_pattern", [1]), ("alpha_pattern", "q_proj"),
        ("alpha_pattern", {"q_proj": "8"}), ("alpha_pattern", {"q_proj": float("nan")}), ("alpha_pattern", {"(": 8}),
        ("rank_pattern", ["q_proj"]), ("rank_pattern", {"q_proj": [2]}), ("init_lora_weights", "pissa"),
        ("init_lora_weights", {"eva": 1}), ("target_modules", {"q_proj": 1}), ("target_modules", 5),
        ("target_modules", [1, 2]), ("modules_to_save", ["lm_head"]), ("use_dora", True), ("use_dora", "true"),
        ("layer_replication", [[0, 1]]), ("something_new", {"a": [1]}),
    ],
)  # fmt: skip
def test_a_setting_of_the_wrong_kind_is_refused_by_its_name(adapter: Path, name: str, value: Any) -> None:
    assert name in refused(with_settings(adapter, **{name: value}))


def test_settings_of_another_rank_are_refused(adapter: Path) -> None:
    """Such an adapter was merged with the rank of its tensors, and so with another scale than in its training."""
    assert "states rank 5 for" in refused(with_settings(adapter, r=5))
    assert "states rank 7 for" in refused(with_settings(adapter, rank_pattern={"q_proj": 7}))


@pytest.mark.parametrize("name", ["bias", "use_rslora", "alpha_pattern", "rank_pattern", "init_lora_weights"])
def test_a_setting_that_is_null_is_not_stated(adapter: Path, name: str) -> None:
    ours = merge_adapter(fresh(), adapter).state_dict()
    same = merge_adapter(fresh(), with_settings(adapter, **{name: None})).state_dict()
    assert all(torch.equal(ours[key], same[key]) for key in ours)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "7", '"LORA"', "{", "{}", "[[]]", '{"r": 2}', NESTED, '{"r":' + NESTED + "}", "\x00\xff",
     "x" * (1 << 21)],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_settings_that_are_no_settings(adapter: Path, text: str) -> None:
    (adapter / SETTINGS).write_bytes(text.encode("latin-1"))
    assert SETTINGS in refused(adapter)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: {}, "no correction"),
        (lambda tensors: {**tensors, A: tensors[A][:1]}, "no place for"),
        (lambda tensors: {**tensors, A: tensors[A][:, :8].contiguous()}, "no place for"),
        (lambda tensors: {**tensors, A: tensors[A].flatten()}, "no place for"),
        (lambda tensors: {**tensors, A: tensors[A][None]}, "no place for"),
        (lambda tensors: {**tensors, A: torch.zeros(0, 32), B: torch.zeros(32, 0)}, "no place for"),
        (lambda tensors: {**tensors, A: torch.zeros(())}, "no place for"),
        (lambda tensors: {**tensors, A: tensors[B], B: tensors[A]}, "no place for"),
        (lambda tensors: {**tensors, A: torch.full_like(tensors[A], torch.nan)}, "holds unusable numbers"),
        (lambda tensors: {**tensors, B: torch.full_like(tensors[B], torch.inf)}, "holds unusable numbers"),
        (lambda tensors: {**tensors, A: torch.full_like(tensors[A], 1e30), B: torch.full_like(tensors[B], 1e30)},
         "holds unusable numbers"),
        (lambda tensors: {**tensors, A: tensors[A].to(torch.int8)}, "holds unusable numbers"),
        (lambda tensors: {**tensors, B: tensors[B].bool()}, "holds unusable numbers"),
        (lambda tensors: {name: one for name, one in tensors.items() if name != A}, "only one of the two halves"),
        (lambda tensors: {name: one for name, one in tensors.items() if name != B}, "only one of the two halves"),
        (lambda tensors: {**tensors, A.replace("layers.0", "layers.7"): tensors[A].clone()}, "no place for"),
        (lambda tensors: {**tensors, "embed_tokens.lora_embedding_A": tensors[A].clone()}, "no place for"),
        (lambda tensors: {**tensors, A.replace("lora_A", "lora_magnitude_vector"): tensors[A].clone()}, "no place for"),
        (lambda tensors: {f"other.{name}": one for name, one in tensors.items()}, "no place for"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(adapter: Path, change: Change, said: str) -> None:
    assert said in refused(with_tensors(adapter, change))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_computed_with(adapter: Path, dtype: torch.dtype) -> None:
    ours = merge_adapter(fresh(), adapter).state_dict()
    with_tensors(adapter, lambda tensors: {name: one.to(dtype) for name, one in tensors.items()})
    other = merge_adapter(fresh(), adapter).state_dict()
    assert all(other[name].dtype == one.dtype for name, one in ours.items())
    for name, one in ours.items():
        torch.testing.assert_close(other[name], one, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("kept", [0, 3, 8, 200, -1])
def test_weights_that_were_cut_short(adapter: Path, kept: int) -> None:
    (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:kept])
    assert WEIGHTS in refused(adapter)


@pytest.mark.parametrize("missing", [SETTINGS, WEIGHTS])
def test_half_an_adapter(adapter: Path, missing: str) -> None:
    (adapter / missing).unlink()
    assert missing in refused(adapter)
    (adapter / missing).mkdir()
    assert missing in refused(adapter)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from(["LORA", "none", "q_proj", 2, 16]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=6) | st.just("q_proj"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES = st.sampled_from(
    ["r", "lora_alpha", "peft_type", "bias", "use_rslora", "alpha_pattern", "rank_pattern", "init_lora_weights",
     "target_modules", "layers_to_transform", "use_dora", "fan_in_fan_out"]
) | st.text(max_size=6)  # fmt: skip
TENSORS = st.dictionaries(
    st.sampled_from([A, B, A.replace("q_proj", "v_proj"), A.replace(".weight", ".default.weight"),
         re.sub(r"^.*?layers", "layers", B)])
    | st.text("ab.0_", max_size=8),
    st.tuples(
        st.lists(st.sampled_from([0, 1, 2, 16, 32]), max_size=3),
        st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.float8_e4m3fn]),
        st.sampled_from([0.0, 1.0, float("nan"), 1e38]),
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changed=st.dictionaries(NAMES, VALUES, max_size=4), tensors=st.none() | TENSORS)
def test_an_adapter_with_any_content_is_merged_or_refused(
    whole: Path, tmp_path: Path, changed: dict[str, Any], tensors: dict | None
) -> None:
    folder = tmp_path / "adapter"
    shutil.rmtree(folder, ignore_errors=True)
    with_settings(Path(shutil.copytree(whole, folder)), **changed)
    if tensors is not None:
        made = {name: torch.full(shape, value).to(dtype) for name, (shape, dtype, value) in tensors.items()}
        save_file(made, folder / WEIGHTS)
    model = fresh()
    try:
        merge_adapter(model, folder)
    except GlassGPTError:
        assert unchanged(model)
    else:
        assert all(bool(one.isfinite().all()) for one in model.state_dict().values())
