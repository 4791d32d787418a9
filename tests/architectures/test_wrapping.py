"""Names of weights are found inside any wrapper."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.architectures.wrapping import WRAPPERS, place_of, unwrap
from glassgpt.errors import ModelError

LLAMA = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight")
TIED = LLAMA[:2]
GPT2 = ("transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "lm_head.weight")
BY_HAND = ("tok_emb.weight", "trf_blocks.0.att.W_query.weight")


@given(
    st.sampled_from([LLAMA, TIED, GPT2, BY_HAND]),
    st.lists(st.sampled_from(["model", *sorted(WRAPPERS)]), max_size=4),
    st.lists(st.tuples(st.sampled_from(sorted(WRAPPERS)), st.integers(0, 4)), max_size=3),
)
def test_every_name_is_found_again(
    names: tuple[str, ...], before: list[str], inside: list[tuple[str, int]]
) -> None:
    def wrap(name: str) -> str:
        parts = name.split(".")
        for wrapper, at in inside:
            parts.insert(min(at, len(parts) - 1), wrapper)
        return ".".join([*before, *parts])

    plain = unwrap(map(wrap, names))
    for name in names:
        place = place_of(name, plain)
        assert place is not None
        assert plain[place] == wrap(name)


def test_a_model_inside_an_adapters_wrapper() -> None:
    plain = unwrap(f"base_model.model.{name}" for name in LLAMA)
    assert sorted(plain) == sorted(LLAMA)


def test_two_names_of_one_tensor_are_refused() -> None:
    with pytest.raises(ModelError, match="two names of one tensor"):
        unwrap(["module.head.weight", "head.weight"])
