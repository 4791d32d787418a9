"""Settings survive TOML unchanged, and every error in a file is reported with its place."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt import config as configs
from glassgpt.errors import ConfigError
from glassgpt.model.config import ACTIVATIONS, NORMS, ModelConfig
from glassgpt.runs.config import CorpusConfig, PromptsConfig, RunConfig
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.training.config import TrainingConfig


@dataclass(frozen=True)
class Lamp:
    """Any dataclass of any package."""

    colour: Literal["red", "green"] = "red"
    height: float = 1.5
    shade: int | None = None

    def __post_init__(self) -> None:
        if self.height <= 0:
            raise ConfigError("lamp.height must be greater than 0.")


@dataclass(frozen=True)
class Room:
    lamp: Lamp = field(default_factory=Lamp)
    names: tuple[str, ...] = ()
    count: int = 1


def counts(least: int = 1) -> st.SearchStrategy[int]:
    return st.integers(least, 2**40)


def numbers(least: float, most: float, **options: Any) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_nan=False, **options)


training = st.builds(
    TrainingConfig,
    steps=counts(),
    epochs=st.none() | numbers(1e-9, 1e9),
    batch_size=counts(),
    order=st.sampled_from(["random", "windows"]),
    stride=st.none() | counts(),
    learning_rate=numbers(1e-3, 1e3),
    min_learning_rate=numbers(0, 1e-3),
    schedule=st.sampled_from(["cosine", "linear", "wsd", "constant"]),
    beta1=numbers(0, 1, exclude_max=True),
    epsilon=numbers(0, 1, exclude_min=True),
    sample_every=st.none() | counts(0),
    seed=st.integers(0, 2**63 - 1),
    device=st.sampled_from(["auto", "cpu", "cuda:1"]),
    compile=st.booleans(),
)
model = st.builds(
    ModelConfig,
    vocab_size=counts(),
    context_length=counts(),
    n_head=st.sampled_from([1, 2, 4]),
    n_kv_head=st.sampled_from([None, 1]),
    n_embd=st.sampled_from([8, 64, 1024]),
    norm=st.sampled_from(NORMS.names()),
    activation=st.sampled_from(ACTIVATIONS.names()),
    rope_theta=numbers(1, 1e9),
    tied_head=st.booleans(),
    dropout=numbers(0, 1, exclude_max=True),
)
runs = st.builds(
    RunConfig,
    corpus=st.builds(CorpusConfig, sources=st.lists(st.text()).map(tuple), text_field=st.none() | st.text()),
    tokenizer=st.builds(TokenizerConfig, vocab_size=counts(0), name=st.none() | st.text()),
    model=model,
    training=training,
    samples=st.builds(PromptsConfig, prompts=st.lists(st.text()).map(tuple), temperature=numbers(0, 5)),
)


@given(st.one_of(training, model, runs))
def test_a_config_comes_back_from_toml_unchanged(config: Any):
    text = configs.to_toml(config)
    assert configs.from_dict(type(config), tomllib.loads(text), origin="here") == config


def test_a_file_is_read_with_defaults_for_what_it_leaves_out(tmp_path: Path):
    path = tmp_path / "room.toml"
    path.write_text('names = ["a", "b"]\n[lamp]\ncolour = "green"\n')
    assert configs.load(Room, path) == Room(Lamp("green"), ("a", "b"))


def test_a_file_saved_by_an_editor_that_adds_a_byte_order_mark_is_read(tmp_path: Path):
    path = tmp_path / "room.toml"
    path.write_bytes(b"\xef\xbb\xbfcount = 3\r\n")
    assert configs.load(Room, path) == Room(count=3)


def test_none_is_left_out_at_every_depth():
    assert configs.to_dict(Room()) == {"lamp": {"colour": "red", "height": 1.5}, "names": [], "count": 1}
    assert "shade" not in configs.to_toml(Room())
    assert "shade = 0" in configs.to_toml(Room(Lamp(shade=0)))


# What is wrong, and where


def refusal(values: dict[str, Any], kind: type = Room) -> str:
    with pytest.raises(ConfigError) as caught:
        configs.from_dict(kind, values, origin="recipe.toml")
    assert str(caught.value).startswith("recipe.toml: ")
    return str(caught.value)


def test_an_unknown_key_names_its_nearest_neighbour():
    assert refusal({"lamp": {"colr": "red"}}) == (
        "recipe.toml: there is no setting `lamp.colr`. Did you mean colour?"
    )
    assert "`lmap`. Did you mean lamp?" in refusal({"lmap": {}})
    assert "Known here: colour, height, shade." in refusal({"lamp": {"xyzzy": 1}})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainingConfig)])
def test_any_setting_of_training_is_found_when_a_letter_is_missing(name: str):
    assert f"Did you mean {name}?" in refusal({"training": {name[0] + name[2:]: 1}}, RunConfig)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"count": "three"}, ["`count`", "int", "str"]),
        ({"count": 1.5}, ["`count`", "int", "float"]),
        ({"lamp": {"height": "tall"}}, ["`lamp.height`", "float", "str"]),
        ({"lamp": {"colour": "blue"}}, ["`lamp.colour`", "blue"]),
        ({"lamp": 3}, ["`lamp`", "a section", "int"]),
        ({"names": ["a", 1]}, ["`names[1]`", "str", "int"]),
        ({"names": "a"}, ["`names`", "array", "str"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named_by_its_path(values: dict[str, Any], parts: list[str]):
    message = refusal(values)
    assert all(part in message for part in parts), message
    assert "$" not in message


def test_what_the_dataclass_refuses_is_reported_with_its_origin():
    assert refusal({"lamp": {"height": 0}}) == "recipe.toml: lamp.height must be greater than 0."
    assert "training.batch_size must be at least 1" in refusal({"training": {"batch_size": 0}}, RunConfig)


def test_invalid_toml_is_reported_with_the_line(tmp_path: Path):
    path = tmp_path / "room.toml"
    path.write_text("count = 1\nnames [\n")
    with pytest.raises(ConfigError, match=r"room\.toml is not valid TOML.*line 2"):
        configs.load(Room, path)
    path.write_bytes(b'names = ["\xff"]')
    with pytest.raises(ConfigError, match="not valid TOML"):
        configs.load(Room, path)
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        configs.load(Room, tmp_path / "nowhere.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        configs.load(Room, tmp_path)


# Precedence

plain = st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3)
tables = st.recursive(
    plain,
    lambda inner: st.builds(dict.__or__, plain, st.dictionaries(st.sampled_from("xyz"), inner, max_size=2)),
    max_leaves=6,
)


def leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for key, value in table.items():
        found.update(leaves(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value})
    return found


@given(tables, tables)
def test_merging_takes_the_overriding_values(under: dict[str, Any], over: dict[str, Any]):
    before = repr((under, over))
    merged = leaves(configs.merge(under, over))
    assert merged.items() >= leaves(over).items()
    kept = {path: value for path, value in merged.items() if path not in leaves(over)}
    assert kept.items() <= leaves(under).items()
    assert repr((under, over)) == before


@given(tables, tables, tables)
def test_merging_can_be_done_from_either_end(
    low: dict[str, Any], middle: dict[str, Any], high: dict[str, Any]
):
    assert configs.merge(configs.merge(low, middle), high) == configs.merge(low, configs.merge(middle, high))


def test_a_section_is_merged_key_by_key():
    under = {"lamp": {"colour": "red", "height": 1}, "names": ["a", "b"]}
    merged = configs.merge(under, {"lamp": {"height": 2}, "names": ["c"]})
    assert merged == {"lamp": {"colour": "red", "height": 2}, "names": ["c"]}
