"""Any `tokenizer.json`: the right engine encodes it, the ids are the file's, and the facts about it are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers import layout
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.byte_chars import BYTE_ORDER, to_chars
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.engines import RustEncoder, TiktokenEncoder, has_blank_run
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.patterns import GPT2, PATTERNS, cut, pre_tokenizer, recognise
from glassgpt.tokenizers.word import WordTokenizer

TEXTS = ["the gulls count the ships, and the ships count the gulls", "then a lamp and another lamp"]
BPE = json.loads(BPETokenizer.train(TEXTS, vocab_size=300).to_json())


def changed(change: Callable[[dict[str, Any]], Any]) -> FastTokenizer:
    document = json.loads(json.dumps(BPE))
    change(document)
    return FastTokenizer.from_json(json.dumps(document))


def test_byte_level_bpe_is_encoded_by_tiktoken() -> None:
    tokenizer = changed(lambda document: None)
    assert isinstance(tokenizer._encoder, TiktokenEncoder)
    assert tokenizer.pattern is GPT2
    assert tokenizer.pattern.llama_cpp == "gpt-2"


NOT_FOR_TIKTOKEN = {
    "a normalizer": lambda d: d.update(normalizer={"type": "Lowercase"}),
    "dropped merges": lambda d: d["model"]["merges"].pop(3),
    "merges in another order": lambda d: d["model"]["merges"].reverse(),
    "a byte missing": lambda d: d["model"]["vocab"].pop("ÿ"),
    "another way to cut": lambda d: d.update(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, d["pre_tokenizer"]],
        }
    ),
    "a space put in front": lambda d: d["pre_tokenizer"].update(add_prefix_space=True),
    "a token of no bytes": lambda d: d["model"]["vocab"].update({"a b": 400}),
    "an added token that is text": lambda d: d["added_tokens"][0].update(special=False),
    "a pair that is a token only as a whole piece": lambda d: d["model"].update(
        ignore_merges=True, vocab=d["model"]["vocab"] | {"xy": 401}
    ),
    "a token without merges": lambda d: d["model"]["vocab"].update({"xyz": 401, "xy": 402}),
}


@pytest.mark.parametrize("name", NOT_FOR_TIKTOKEN)
def test_vocabularies_that_tiktoken_would_encode_differently_use_tokenizers(name: str) -> None:
    tokenizer = changed(NOT_FOR_TIKTOKEN[name])
    assert isinstance(tokenizer._encoder, RustEncoder)
    text = "The gulls' lamp<|endoftext|> 12 ships xyz"
    theirs = RustEncoder(tokenizer.json).tokenizer
    assert tokenizer.encode(text) == theirs.encode(text).ids


@st.composite
def vocabularies(draw: st.DrawFn) -> str:
    """A `tokenizer.json` over a, b and c whose merges, ids and stray tokens follow no training."""
    tokens = ["a", "b", "c"]
    merges: list[tuple[str, str]] = []
    for _ in range(draw(st.integers(0, 8))):
        pair = draw(st.tuples(st.sampled_from(tokens), st.sampled_from(tokens)))
        if len("".join(pair)) < 7 and pair not in merges:
            merges.append(pair)
            tokens = list(dict.fromkeys([*tokens, "".join(pair)]))
    stray = draw(st.lists(st.text("abc", min_size=2, max_size=4), max_size=2))
    longer = list(dict.fromkeys([*tokens[3:], *stray]))
    longer = draw(st.permutations(longer)) if draw(st.booleans()) else longer
    names = [*(to_chars(bytes([byte])) for byte in BYTE_ORDER), *longer]
    model = layout.bpe_model(
        {name: id for id, name in enumerate(names)}, merges, ignore_merges=draw(st.booleans())
    )
    return layout.tokenizer_json(
        model=model,
        pre_tokenizer=pre_tokenizer(GPT2),
        decoder=layout.JOIN_BYTES,
        special={"<|endoftext|>": len(names)},
    )


@settings(max_examples=200, deadline=None)
@given(document=vocabularies(), texts=st.lists(st.text("abc", max_size=14), min_size=1, max_size=8))
def test_the_engine_chosen_for_any_vocabulary_gives_the_ids_of_the_file(
    document: str, texts: list[str]
) -> None:
    tokenizer = FastTokenizer.from_json(document)
    for text in texts:
        assert tokenizer.encode(text) == tokenizer._rust.encode(text)


@pytest.mark.parametrize("blank", [" ", "\t\n"])
def test_a_giant_run_of_white_space_is_encoded(blank: str) -> None:
    """tiktoken's regular expression overflows its stack on a million spaces and aborts in a panic."""
    tokenizer = changed(lambda document: None)
    text = "a" + blank * (1_000_000 // len(blank)) + "lamp"
    lamp, ids = tokenizer.encode_batch(["lamp", text])
    assert tokenizer.decode(ids) == text
    assert lamp == tokenizer.encode("lamp")


@pytest.mark.parametrize("letter", ["a", "1", "!", "漢"])
def test_a_giant_run_of_anything_else_is_encoded_soon(letter: str) -> None:
    tokenizer = changed(lambda document: None)
    text = letter * 300_000
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(before=st.integers(0, 100_000), length=st.integers(0, 200_000), after=st.integers(0, 100_000))
@settings(max_examples=30, deadline=None)
def test_giant_runs_are_found_and_short_ones_are_not(before: int, length: int, after: int) -> None:
    text = "a" * before + " " * length + "a" * after
    assert has_blank_run(text) or length < 2 * 65_536
    assert not has_blank_run(text) or length >= 65_536


def test_the_fingerprint_changes_with_the_ids_only() -> None:
    tokenizer = changed(lambda document: None)
    same = [
        lambda d: d.update(decoder=None),
        lambda d: d.update(
            truncation={"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
        ),
        lambda d: d["model"].update(vocab=dict(reversed(d["model"]["vocab"].items()))),
        lambda d: d["model"].update(merges=[" ".join(pair) for pair in d["model"]["merges"]]),
        lambda d: d["model"].pop("byte_fallback"),
    ]
    other = [
        lambda d: d.update(normalizer={"type": "NFC"}),
        lambda d: d.update(pre_tokenizer=pre_tokenizer(PATTERNS["qwen2"])),
        lambda d: d["model"]["merges"].pop(),
        lambda d: d["model"].update(ignore_merges=True),
        lambda d: d["added_tokens"][0].update(content="</s>"),
    ]
    assert all(changed(change).fingerprint == tokenizer.fingerprint for change in same)
    prints = {changed(change).fingerprint for change in other} | {tokenizer.fingerprint}
    assert len(prints) == len(other) + 1


def test_truncation_and_templates_in_a_file_add_and_drop_nothing() -> None:
    template = {"id": "<|endoftext|>", "ids": [BPE["added_tokens"][0]["id"]], "tokens": ["<|endoftext|>"]}
    sequence, special = (
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
    )
    processor = {
        "type": "TemplateProcessing",
        "single": [special, sequence],
        "pair": [sequence, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": template},
    }
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    tokenizer = changed(lambda d: d.update(post_processor=processor, truncation=truncation))
    plain = changed(lambda d: None)
    for allow_special in (False, True):
        text = "the gulls count the ships"
        assert tokenizer.encode(text, allow_special=allow_special) == plain.encode(text)


@pytest.mark.parametrize(
    "name", ["</s>", "<|end_of_text|>", "<|im_end|>", "<EOT>", "<\uff5cend\u2581of\u2581sentence\uff5c>"]
)
def test_the_end_of_text_is_found_under_other_names(name: str) -> None:
    assert (
        changed(lambda d: d["added_tokens"][0].update(content=name)).end_of_text
        == BPE["added_tokens"][0]["id"]
    )


def test_a_file_without_an_end_of_text_is_refused() -> None:
    with pytest.raises(TokenizerError, match="no token for the end of a text"):
        changed(lambda d: d["added_tokens"].clear())


def test_bytes_stand_for_what_decoding_shows() -> None:
    tokenizer = FastTokenizer.from_json(WordTokenizer(["lamp", ",", "("]).to_json())
    assert [tokenizer.token_bytes(id) for id in range(5)] == [b" lamp", b",", b" (", b"", b""]
    assert tokenizer.byte_lengths().tolist() == [5, 1, 2, 0, 0]
    assert tokenizer.byte_lengths().dtype == np.int64


def test_numpy_ids_decode() -> None:
    tokenizer = FastTokenizer.from_json(CharTokenizer("abc").to_json())
    assert tokenizer.decode(np.array([2, 0, 4, 1])) == "cab"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"model": 3}', "not JSON"])
def test_a_file_that_is_not_a_tokenizer_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: This is not a tokenizer"):
        FastTokenizer.from_file(tmp_path / "tokenizer.json")


def test_a_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        FastTokenizer.from_file(tmp_path / "tokenizer.json")


def test_a_sentencepiece_like_file_is_of_another_kind_and_streams() -> None:
    """The kind of Llama 2: spaces as ▁, unknown characters as bytes. Its space in front is stripped again."""
    from glassgpt.tokenizers.stream import StreamDecoder

    vocab = {"<unk>": 0, "▁": 1, "a": 2, "▁a": 3, "</s>": 260} | {
        f"<0x{byte:02X}>": 4 + byte for byte in range(256)
    }
    steps = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    document = json.loads(
        layout.tokenizer_json(
            model=layout.bpe_model(vocab, [("▁", "a")], unk_token="<unk>", byte_fallback=True),
            pre_tokenizer={
                "type": "Metaspace",
                "replacement": "▁",
                "prepend_scheme": "first",
                "split": False,
            },
            decoder={"type": "Sequence", "decoders": steps},
            special={"</s>": 260},
        )
    )
    tokenizer = FastTokenizer.from_json(json.dumps(document))
    assert (tokenizer.kind, tokenizer.lossless, tokenizer.end_of_text) == ("other", False, 260)
    ids = tokenizer.encode("a é 😀a")
    assert tokenizer.decode(ids) == "a é 😀a"
    assert tokenizer.token_bytes(3) == b" a"
    assert tokenizer.token_bytes(4 + 0xC3) == b"\xc3"
    stream = StreamDecoder(tokenizer)
    shown = [stream.push(id) for id in [*ids, 260]]
    assert "".join([*shown, stream.flush()]) == "a é 😀a"
    assert not any("\ufffd" in piece for piece in shown)


@given(text=st.text(st.characters(exclude_categories=["Cs"])), name=st.sampled_from(sorted(PATTERNS)))
def test_pieces_are_the_text_and_patterns_are_recognised(text: str, name: str) -> None:
    assert "".join(cut(text, PATTERNS[name].text)) == text
    assert recognise(pre_tokenizer(PATTERNS[name])) is PATTERNS[name]


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("gpt2", ["It", "'s", " 12345", "\n\n", " x", " !!", "\n"]),
        ("llama3", ["It", "'s", " ", "123", "45", "\n\n", " x", " !!\n"]),
        ("qwen2", ["It", "'s", " ", "1", "2", "3", "4", "5", "\n\n", " x", " !!\n"]),
        ("o200k", ["It's", " ", "123", "45", "\n\n", " x", " !!\n"]),
    ],
)
def test_patterns_cut_as_their_models_do(name: str, pieces: list[str]) -> None:
    assert cut("It's 12345\n\n x !!\n", PATTERNS[name].text) == pieces
