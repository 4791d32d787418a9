"""One contract for every kind: readable, fast, `tokenizers` and `transformers` agree on every text."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.contract import as_fast
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.special import END_OF_TEXT, UNKNOWN
from glassgpt.tokenizers.stream import StreamDecoder
from glassgpt.tokenizers.word import WordTokenizer
from glassgpt.tokenizers.wordpiece import WordPieceTokenizer

STORY = """The lamp-keeper's daughter counted ships: one, two, three... then forty!
"Don't count the ghosts," said her father (he never laughed). "They aren't real."
But the ghosts were counting her, and they'd got to 12,345 -- or so the gulls said.
The gulls said it again, and again; the daughter counted the gulls. Ça va, naïve lamp?
"""
STORIES = [STORY, STORY.replace("ghosts", "lamps"), "aaaa aaaaaa aaa the theatre\n\n\n  thing\t\tthings"]

# Code points that Python knows: letters newer than its Unicode are cut differently by `regex`.
characters = st.characters(exclude_categories=["Cs", "Cn"])
# Difficult inputs: special names as text, joined emoji, white space, contractions, brackets.
SNIPPETS = [
    *(
        "<|endoftext|>",
        "<|unk|>",
        "<|endo",
        "##",
        "1234",
        "don't",
        "'S",
        "'\u017f",
        "(a)",
        "...",
        "--",
        " the",
    ),
    *("ghosts", "na\u00efve-lamp", "\n", "\r\n", "  ", "\t", " \n ", "\x00", "\u200b", "\ufffd"),
    *("\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\u00e9", "e\u0301", "\u6f22\u5b57"),
]
any_text = st.lists(st.sampled_from(SNIPPETS) | st.text(characters, max_size=8), max_size=12).map("".join)

SCRATCH = {
    "char": lambda: CharTokenizer.train(STORIES),
    "word": lambda: WordTokenizer.train(STORIES),
    "wordpiece": lambda: WordPieceTokenizer.train(STORIES, vocab_size=160),
    "bpe-gpt2": lambda: BPETokenizer.train(STORIES, vocab_size=320, pattern="gpt2"),
    "bpe-llama3": lambda: BPETokenizer.train(STORIES, vocab_size=320, pattern="llama3"),
    "bpe-qwen2": lambda: BPETokenizer.train(STORIES, vocab_size=320, pattern="qwen2"),
}


@dataclass
class Faces:
    """One vocabulary in its four forms."""

    scratch: Any
    fast: FastTokenizer
    transformers: Any


@pytest.fixture(scope="module", params=SCRATCH)
def faces(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Faces:
    from transformers import PreTrainedTokenizerFast

    scratch = SCRATCH[request.param]()
    fast = FastTokenizer.from_json(scratch.to_json())
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    fast.save(file)
    assert fast.kind == request.param.partition("-")[0]
    return Faces(scratch, FastTokenizer.from_file(file), PreTrainedTokenizerFast(tokenizer_file=str(file)))


@settings(max_examples=25, deadline=None)
@given(text=any_text)
def test_all_forms_give_the_same_ids(faces: Faces, text: str) -> None:
    ids = faces.scratch.encode(text)
    assert faces.fast.encode(text) == ids
    assert faces.fast.encode_batch([text, "", text]) == [ids, [], ids]
    theirs = faces.transformers.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert theirs == ids


@settings(max_examples=25, deadline=None)
@given(text=any_text)
def test_all_forms_give_the_same_ids_where_special_tokens_are_allowed(faces: Faces, text: str) -> None:
    ids = faces.scratch.encode(text, allow_special=True)
    assert faces.fast.encode(text, allow_special=True) == ids
    assert faces.transformers.encode(text, add_special_tokens=False) == ids
    assert ids.count(faces.fast.end_of_text) == text.count(END_OF_TEXT)


@settings(max_examples=25, deadline=None)
@given(text=any_text)
def test_text_never_becomes_the_end_of_text_by_itself(faces: Faces, text: str) -> None:
    assert faces.fast.end_of_text not in faces.fast.encode(text + END_OF_TEXT)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_all_forms_give_the_same_text_for_any_ids(faces: Faces, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, faces.fast.vocab_size - 1), max_size=20))
    text = faces.scratch.decode(ids)
    assert faces.fast.decode(ids) == text
    theirs = faces.transformers.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert theirs == text


@settings(max_examples=25, deadline=None)
@given(text=any_text)
def test_lossless_kinds_give_back_the_text(faces: Faces, text: str) -> None:
    if faces.fast.kind == "char":
        text = "".join(char for char in text if char in set("".join(STORIES)))
    ids = faces.fast.encode(text)
    assert faces.fast.lossless == (faces.fast.kind in ("char", "bpe"))
    if faces.fast.lossless:
        assert faces.fast.decode(ids) == text
        assert b"".join(faces.fast.token_bytes(id) for id in ids) == text.encode()
        assert sum(faces.fast.byte_lengths()[ids]) == len(text.encode())


@settings(max_examples=25, deadline=None)
@given(text=any_text)
def test_word_kinds_give_back_words_they_know(faces: Faces, text: str) -> None:
    """Encoding and decoding once more changes nothing."""
    if faces.fast.lossless or faces.fast.unknown(text):
        return
    shown = faces.fast.decode(faces.fast.encode(text))
    assert faces.fast.decode(faces.fast.encode(shown)) == shown
    assert "".join(shown.split()) == "".join(text.split())


@settings(max_examples=25, deadline=None)
@given(text=any_text)
def test_unknown_names_what_the_vocabulary_cannot_write(faces: Faces, text: str) -> None:
    unknown = faces.fast.unknown(text)
    id_of_unknown = faces.scratch.tokens.index(UNKNOWN) if UNKNOWN in faces.scratch.tokens else -1
    assert bool(unknown) == (id_of_unknown in faces.fast.encode(text))
    assert len(set(unknown)) == len(unknown)
    for part in unknown:
        assert part in text
        assert id_of_unknown in faces.fast.encode(part)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_streaming_any_ids_shows_what_decoding_shows(faces: Faces, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, faces.fast.vocab_size - 1), max_size=20))
    stream = StreamDecoder(faces.fast)
    assert "".join([*map(stream.push, ids), stream.flush()]) == faces.fast.decode(ids)


@settings(max_examples=25, deadline=None)
@given(text=any_text)
def test_streaming_a_text_shows_no_broken_character(faces: Faces, text: str) -> None:
    text = text.replace("\ufffd", "")
    stream = StreamDecoder(faces.fast)
    shown = [stream.push(id) for id in faces.fast.encode(text)]
    assert not any("\ufffd" in piece for piece in shown)
    assert stream.flush() == ""


def test_ids_end_with_the_end_of_text(faces: Faces) -> None:
    assert faces.fast.end_of_text == faces.fast.vocab_size - 1
    assert faces.fast.encode(END_OF_TEXT, allow_special=True) == [faces.fast.end_of_text]
    assert faces.fast.decode([faces.fast.end_of_text]) == ""
    assert faces.fast.decode([faces.fast.end_of_text], skip_special=False) == END_OF_TEXT
    assert faces.fast.token_bytes(faces.fast.end_of_text) == b""
    assert faces.fast.byte_lengths().shape == (faces.fast.vocab_size,)


@settings(max_examples=20)
@given(wrong=st.integers(-(2**63), -1) | st.integers(2_000, 2**63))
def test_an_id_outside_the_vocabulary_is_refused(faces: Faces, wrong: int) -> None:
    for use in (faces.fast.token_bytes, StreamDecoder(faces.fast).push):
        with pytest.raises(TokenizerError, match="There is no token"):
            use(wrong)
    with pytest.raises(TokenizerError, match="There is no token"):
        faces.fast.decode([0, wrong])


def test_a_batch_is_each_text_in_order(faces: Faces) -> None:
    texts = [f"{STORY[start : start + 9]}{start}" for start in range(300)]
    assert faces.fast.encode_batch(texts) == [faces.fast.encode(text) for text in texts]
    assert faces.fast.encode_batch([]) == []


@settings(max_examples=60)
@given(text=any_text, size=st.integers(1, 9), special=st.booleans())
def test_a_streamed_text_has_the_ids_of_the_whole(faces: Faces, text: str, size: int, special: bool) -> None:
    incoming = (text[start : start + size] for start in range(0, len(text), size))
    parts = list(faces.fast.encode_parts(incoming, allow_special=special))
    assert "".join(part for part, _ in parts) == text
    assert [id for _, ids in parts for id in ids] == faces.fast.encode(text, allow_special=special)


def test_a_tokenizer_travels_to_another_process(faces: Faces) -> None:
    again = pickle.loads(pickle.dumps(faces.fast))
    assert again.fingerprint == faces.fast.fingerprint
    assert again.encode(STORY) == faces.fast.encode(STORY)


def test_half_a_character_becomes_a_replacement_character(faces: Faces) -> None:
    """A lone surrogate, left by broken JSON escapes, is not UTF-8; encoding it must not fail."""
    assert faces.fast.encode("the \ud83d lamp") == faces.fast.encode("the \ufffd lamp")
    assert faces.fast.encode("\ud83d\ude00") == faces.fast.encode("😀")
    assert faces.fast.encode_batch(["\udfff"]) == [faces.fast.encode("\ufffd")]


def test_the_file_is_the_tokenizer(faces: Faces, tmp_path: Path) -> None:
    faces.fast.save(tmp_path / "deep" / "tokenizer.json")
    again = FastTokenizer.from_file(tmp_path / "deep" / "tokenizer.json")
    assert again.json == faces.fast.json
    assert again.fingerprint == faces.fast.fingerprint


@pytest.mark.parametrize("kind", SCRATCH)
def test_the_readable_form_becomes_the_fast_one(kind: str) -> None:
    scratch = SCRATCH[kind]()
    fast = as_fast(scratch)
    assert fast.encode(STORY) == scratch.encode(STORY)
    assert fast.vocab_size == scratch.vocab_size
    assert as_fast(fast) is fast
    assert as_fast(FastTokenizer.from_json(fast.to_json())).fingerprint == fast.fingerprint


def test_a_tokenizer_of_another_library_is_refused_with_the_way_out() -> None:
    with pytest.raises(TokenizerError, match="load_tokenizer"):
        as_fast(tiktoken.Encoding("x", pat_str=".", mergeable_ranks={b"a": 0}, special_tokens={}))
