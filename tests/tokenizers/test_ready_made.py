"""Vocabularies by name: GPT-2's is the published one to the last merge, and its ids are tiktoken's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import OfflineError, TokenizerError
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.byte_chars import BYTE_ORDER
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.engines import TiktokenEncoder
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.ready_made import last_parts, ranks_to_json
from glassgpt.tokenizers.train import train_bpe_in_rust


@pytest.fixture
def offline(tiktoken_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder shared by all tests here, so that GPT-2's vocabulary is converted once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def gpt2(tiktoken_cache: Path, kept: Path) -> FastTokenizer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(tiktoken_cache))
        patch.setenv("GLASSGPT_CACHE", str(kept))
        return load_tokenizer("gpt2")


def published_merges(tiktoken_cache: Path) -> list[str]:
    texts = (file.read_text(encoding="utf-8") for file in tiktoken_cache.iterdir() if file.is_file())
    merges = next(text for text in texts if text.startswith("#version"))
    return merges.splitlines()[1:]


def test_the_merges_are_the_published_ones(gpt2: FastTokenizer, tiktoken_cache: Path) -> None:
    document = json.loads(gpt2.json)
    assert [" ".join(pair) for pair in document["model"]["merges"]] == published_merges(tiktoken_cache)
    assert (gpt2.kind, gpt2.vocab_size, gpt2.end_of_text, gpt2.lossless) == ("bpe", 50257, 50256, True)
    assert isinstance(gpt2._encoder, TiktokenEncoder)


@pytest.mark.parametrize(
    "name", ["the-verdict.txt", "tinyshakespeare.txt", "tinystories-sample.txt", "fairytales.txt"]
)
def test_ids_are_tiktokens_on_real_text(
    gpt2: FastTokenizer, offline: None, shared_data: Path, name: str
) -> None:
    import tiktoken

    text = (shared_data / name).read_text(encoding="utf-8")
    ids = gpt2.encode(text)
    assert ids == tiktoken.get_encoding("gpt2").encode_ordinary(text)
    assert gpt2.decode(ids) == text
    part = text[:200_000]
    assert gpt2._rust.encode(part) == gpt2.encode(part)


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_ids_are_tiktokens_on_any_text(gpt2: FastTokenizer, text: str) -> None:
    assert gpt2.encode(text) == gpt2._rust.encode(text)
    assert gpt2.decode(gpt2.encode(text)) == text


def test_special_tokens_are_those_of_gpt2(gpt2: FastTokenizer) -> None:
    assert gpt2.encode("hello<|endoftext|>", allow_special=True) == [31373, 50256]
    assert 50256 not in gpt2.encode("hello<|endoftext|>")


def test_the_converted_file_is_kept(gpt2: FastTokenizer, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSGPT_CACHE", str(kept))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(kept / "nowhere"))
    assert load_tokenizer("gpt2").fingerprint == gpt2.fingerprint


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(OfflineError, match="TIKTOKEN_CACHE_DIR"):
        load_tokenizer("cl100k_base")


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text("abc ", min_size=1, max_size=40), min_size=1, max_size=6))
def test_ranks_hold_the_merges(texts: list[str]) -> None:
    """Trained merges, converted to ranks as tiktoken publishes them, are recovered merge by merge."""
    trained = train_bpe_in_rust(texts, vocab_size=290)
    ranks = {token: id for id, token in enumerate(trained.tokens)}
    special = {"<|endoftext|>": len(ranks) + 3, "<|later|>": len(ranks) + 9}
    converted = FastTokenizer.from_json(ranks_to_json("gpt2", ranks, special))
    assert converted.end_of_text == len(ranks) + 3
    assert converted.vocab_size == len(ranks) + 10
    assert converted.decode([converted.end_of_text], skip_special=False) == "<|endoftext|>"
    assert converted.token_bytes(len(ranks) + 1) == b""
    recovered = [last_parts(token, ranks) for token in trained.tokens[256:]]
    assert recovered == [[trained.tokens[left], trained.tokens[right]] for left, right in trained.merges]
    text = " ".join(texts)
    assert converted.encode(text) == BPETokenizer(trained.merges).encode(text)


def test_a_token_that_no_merge_makes_is_still_found_whole() -> None:
    """Published vocabularies hold a few such tokens; tiktoken uses one for a piece that is exactly that token."""
    ranks = {bytes([byte]): id for id, byte in enumerate(BYTE_ORDER)} | {b"lamp": 256, b"la": 257}
    converted = FastTokenizer.from_json(ranks_to_json("gpt2", ranks, {"<|endoftext|>": 258}))
    assert converted.encode("lamp") == [256]
    assert converted.encode("lamps") == [257, *converted.encode("mps")]
    assert isinstance(converted._encoder, TiktokenEncoder)


def test_files_and_folders_are_loaded(tmp_path: Path) -> None:
    tokenizer = FastTokenizer.from_json(CharTokenizer("abc").to_json())
    tokenizer.save(tmp_path / "tokenizer.json")
    tokenizer.save(tmp_path / "mine.json")
    for place in (tmp_path, str(tmp_path), tmp_path / "tokenizer.json", tmp_path / "mine.json"):
        assert load_tokenizer(place).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gtp2", r"ready-made ones .*Did you mean gpt2\?"),
        ("nowhere/at/all", "no file or folder of that name"),
    ],
)
def test_an_unknown_name_is_explained(name: str, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(name)


def test_a_folder_without_a_tokenizer_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"holds no tokenizer\.json"):
        load_tokenizer(tmp_path)
