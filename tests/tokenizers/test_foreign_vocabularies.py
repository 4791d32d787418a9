"""A tokenizer.json from elsewhere is used or refused with a message: no panic, no abort, no blind trust."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import TokenizerError
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.load import load_tokenizer
from glassgpt.tokenizers.word import WordTokenizer
from glassgpt.tokenizers.wordpiece import WordPieceTokenizer

TEXTS = ["the gulls count the ships", "and, the ships: (12) 'count'"]
UNIGRAM = {
    "type": "Unigram",
    "unk_id": 0,
    "vocab": [["<unk>", 0.0], ["▁the", -1.0], ["a", -2.0], ["</s>", -3.0]],
    "byte_fallback": False,
}


def _documents() -> dict[str, Any]:
    made = {
        "bpe": BPETokenizer.train(TEXTS, vocab_size=270),
        "llama3": BPETokenizer.train(TEXTS, vocab_size=262, pattern="llama3"),
        "char": CharTokenizer.train(TEXTS),
        "word": WordTokenizer.train(TEXTS),
        "wordpiece": WordPieceTokenizer.train(TEXTS, vocab_size=60),
    }
    documents = {name: json.loads(scratch.to_json()) for name, scratch in made.items()}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    documents["unigram"] = documents["bpe"] | {
        "model": UNIGRAM, "pre_tokenizer": metaspace, "decoder": metaspace,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
        "added_tokens": [documents["bpe"]["added_tokens"][0] | {"id": 3, "content": "</s>"}],
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [3], "tokens": ["</s>"]}},
        },
    }  # fmt: skip
    return documents


DOCUMENTS = _documents()


def use(text: str) -> None:
    """Use every function of a vocabulary."""
    tokenizer = FastTokenizer.from_json(text)
    assert tokenizer.byte_lengths().shape == (tokenizer.vocab_size,)
    tokenizer.begin_ids()
    said = "the Gulls <|endoftext|></s> 漢 \U0001f600\n"
    for ids in (tokenizer.encode(said), tokenizer.encode(said, allow_special=True), [tokenizer.end_of_text]):
        tokenizer.decode(ids)
        tokenizer.decode(ids, skip_special=False)
    tokenizer.encode_batch([said, ""])
    tokenizer.encode_arrays([said])
    tokenizer.unknown(said)
    tokenizer.encode_pieces(
        [(said, False), *((name, True) for name in tokenizer.special_names), (said, False)]
    )


def with_a_special_name(name: str) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENTS["bpe"])
    document["added_tokens"].append(document["added_tokens"][0] | {"id": 270, "content": name})
    return document


@pytest.mark.parametrize("document", [DOCUMENTS["unigram"], with_a_special_name("<|the end|>")])
def test_a_streamed_text_is_cut_only_at_safe_places(
    document: dict[str, Any],
) -> None:
    """Words encoded separately have other ids than the text, and the name of a special token contains a space."""
    tokenizer = FastTokenizer.from_json(json.dumps(document))
    text = "the gulls <|the end|> the the a"
    parts = list(tokenizer.encode_parts(iter(text), allow_special=True))
    assert [id for _, ids in parts for id in ids] == tokenizer.encode(text, allow_special=True)


def test_the_whole_documents_are_used() -> None:
    for document in DOCUMENTS.values():
        use(json.dumps(document))


SECTIONS = ("model", "pre_tokenizer", "decoder", "added_tokens", "post_processor", "normalizer")
NUMBERS = [-1, 2**31, 2**32, 2**63, 2**64, 0, 3, 1.5, 1e300]
WORDS = ["", "a", "x", "\ud800", "</s>", "Ġ", "<0xZZ>", "(a+)+$", "[", "BPE", "Unigram"]
values = st.sampled_from([*NUMBERS, *WORDS, None, True, [], {}, [["a", "b"]], ["a"], [[1, 2]], {"a": 0}])


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_changed_document_is_used_or_refused(name: str) -> None:
    @settings(max_examples=80)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        document = copy.deepcopy(DOCUMENTS[name])
        for _ in range(data.draw(st.integers(1, 3))):
            # Settings are as likely to be changed as the many entries of the vocabulary.
            section = data.draw(st.sampled_from([document, *(document.get(name) for name in SECTIONS)]))
            found = places(section)
            if not found:
                continue
            container, key = data.draw(st.sampled_from(found))
            if data.draw(st.booleans()):
                container[key] = copy.deepcopy(data.draw(values))  # a drawn list is shared, and changed here
            elif key in container or isinstance(container, list):
                del container[key]
        with contextlib.suppress(TokenizerError):
            use(json.dumps(document))

    check()


@settings(max_examples=100)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_refused_in_a_sentence(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=r"any-tokenizer.json"):
        load_tokenizer(path)


def changed(name: str, **model: Any) -> str:
    document = copy.deepcopy(DOCUMENTS[name])
    document["model"] |= model
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed("word", vocab={"a": 2**31, "<|unk|>": 1}), "has the id 2,147,483,648"),
        (changed("word", vocab={"a": 0, "b": 0, "<|unk|>": 1}), "the id 0 twice"),
        (changed("word", vocab={"a": -1, "<|unk|>": 1}), "'a' .* -1"),
        (changed("word", vocab={"a": True}), "'a' .* True"),
        (changed("word", vocab=["a"]), "vocab"),
        (changed("bpe", merges=[["a", "b", "c"]]), "merge"),
        (changed("bpe", merges=7), "merge"),
        (json.dumps({"model": 7}), "model"),
        (json.dumps({}), "model"),
        (json.dumps([]), "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("{", "not JSON"),
        ('{"model": {"type": "WordLevel", "vocab": {"\\ud800": 0}, "unk_token": "a"}}', "surrogate"),
        (json.dumps(DOCUMENTS["word"] | {"added_tokens": [{"id": 7, "content": 3}]}), "added_tokens"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    """An id of 2^31 took four gigabytes and ended the program; others were tracebacks of the library."""
    with pytest.raises(TokenizerError, match=said):
        FastTokenizer.from_json(text)


def test_a_pattern_that_never_finishes_is_refused() -> None:
    """The library panics there, and a panic is not an Exception: no handler caught it."""
    document = DOCUMENTS["bpe"] | {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": "(?:a|aa|a?)+b"},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        }
    }
    tokenizer = FastTokenizer.from_json(json.dumps(document))
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_batch([text])):
        with pytest.raises(TokenizerError, match="cannot encode"):
            encode("a" * 40 + "cb")
