"""What a person sees: text as soon as it is certain, never the beginning of a stop string, never half a character.

`scripted` makes a real GPT whose next token depends only on the position, so that a test decides what is written.
"""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.errors import GenerationError
from glassgpt.generation.engine import generate_ids
from glassgpt.generation.text import GenerationConfig, TextEvent, complete, never_written, prompt_ids, stream
from glassgpt.model.config import ModelConfig
from glassgpt.model.gpt import GPT
from glassgpt.tokenizers.bpe import BPETokenizer
from glassgpt.tokenizers.char import CharTokenizer
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer
from glassgpt.tokenizers.word import WordTokenizer
from glassgpt.tokenizers.wordpiece import WordPieceTokenizer

TEXT = "the cat sat on the mat. the dog sat too, it did not bark!\nthe end of the story is near.\n"
GREEDY = GenerationConfig(temperature=0, max_tokens=60)


def tokenizer(kind: str, text: str = TEXT) -> FastTokenizer:
    size = {"bpe": 280, "wordpiece": 60}.get(kind, 0)
    return train_tokenizer([text] * 2, TokenizerConfig(kind=kind, vocab_size=size))


@pytest.fixture(scope="module")
def bpe() -> FastTokenizer:
    return tokenizer("bpe")


@pytest.fixture(scope="module")
def char() -> FastTokenizer:
    return tokenizer("char", "ab c")


def scripted(vocabulary: FastTokenizer, prompt_length: int, ids: list[int]) -> GPT:
    """A GPT that writes `ids` after any prompt of a given number of tokens."""
    length = prompt_length + len(ids) + 1
    model = GPT(
        ModelConfig(
            vocab_size=vocabulary.vocab_size, context_length=length, n_layer=1, n_head=1, n_embd=length,
            positions="learned", tied_head=False,
        )
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.position_embedding.weight.copy_(torch.eye(length))
        model.final_norm.weight.fill_(1)
        for place, id in enumerate(ids, start=prompt_length - 1):
            model.head.weight[id, place] = 1
    return model


def random_model(vocabulary: FastTokenizer, seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(
        ModelConfig(vocab_size=vocabulary.vocab_size, context_length=16, n_layer=2, n_head=2, n_embd=16)
    )


def write(vocabulary: FastTokenizer, text: str | list[int], prompt: str = "a", **settings) -> list[TextEvent]:
    """The events of a model that writes `text`, by default one token at a time to the end."""
    ids = vocabulary.encode(text) if isinstance(text, str) else text
    model = scripted(vocabulary, len(prompt_ids(vocabulary, prompt, documents=True)), ids)
    config = dataclasses.replace(GREEDY, **{"max_tokens": len(ids), **settings})
    return list(stream(model, vocabulary, prompt, config))


def joined(events: list[TextEvent]) -> str:
    return "".join(event.text for event in events)


def spell(bpe: FastTokenizer, text: str) -> list[int]:
    """The ids of a text in which each byte is a token."""
    return [id for byte in text.encode() for id in range(257) if bpe.token_bytes(id) == bytes([byte])]


def test_text_comes_token_by_token(char):
    events = write(char, "abc ab", prompt="c")
    assert [event.text for event in events] == list("abc ab")
    assert [event.finished for event in events] == [""] * 5 + ["length"]
    assert {event.index for event in events} == {0}


def test_a_stop_string_split_over_tokens_is_never_shown(bpe):
    ids = spell(bpe, "Hello END of it")
    events = write(bpe, ids, stop=("END",))
    assert joined(events) == "Hello "
    assert events[-1].finished == "stop"
    # What could not be the beginning of the stop string was shown at once, letter by letter.
    assert [event.text for event in events] == [*"Hello ", ""]


def test_the_beginning_of_a_stop_string_that_does_not_go_on_is_shown_after_all(bpe):
    events = write(bpe, spell(bpe, "an EN route, E"), stop=("END",))
    assert joined(events) == "an EN route, E"
    assert events[-1] == TextEvent(0, "E", "length", written=1)
    assert "EN " in [event.text for event in events]  # held until the space settled it


def test_a_stop_string_inside_one_token_cuts_the_token(bpe):
    assert "the" in bpe.decode(bpe.encode(" the"))
    assert len(bpe.encode(" the")) == 1
    assert joined(write(bpe, " the cat", stop=("he",))) == " t"


def test_of_several_stop_strings_the_earliest_counts(bpe):
    ids = spell(bpe, "one two three")
    assert joined(write(bpe, ids, stop=("three", "two", "wo"))) == "one "
    assert joined(write(bpe, ids, stop=("", "zzz"))) == "one two three"  # an empty one would stop everything


def test_a_stop_string_in_the_prompt_does_not_stop(bpe):
    events = write(bpe, spell(bpe, "yes."), prompt="END", stop=("END",))
    assert joined(events) == "yes."


def test_a_stop_string_right_at_the_end_of_text(bpe):
    """`<|endoftext|>` ends the text while "EN" is held back: it is shown then."""
    events = write(bpe, [*spell(bpe, "the EN"), bpe.end_of_text], stop=("END",))
    assert joined(events) == "the EN"
    assert events[-1] == TextEvent(0, "EN", "end", written=3)


@pytest.mark.parametrize("text", ["Grüße", "你好, 世界", "a🙂b👩‍👧z", "é" * 9])
def test_characters_over_several_tokens_never_show_a_replacement(bpe, text):
    ids = spell(bpe, text)
    assert len(ids) > len(text)
    events = write(bpe, ids)
    assert joined(events) == text
    for event in events:
        assert "\ufffd" not in event.text


def test_a_character_cut_off_by_the_length_shows_only_at_the_very_end(bpe):
    events = write(bpe, spell(bpe, "ab🙂")[:4])
    assert [event.text for event in events[:-1]] == ["a", "b"]
    assert events[-1] == TextEvent(0, "\ufffd", "length", written=2)


def test_end_of_text_ends(bpe):
    events = write(bpe, [*spell(bpe, "Fin."), bpe.end_of_text, *spell(bpe, "never shown")])
    assert joined(events) == "Fin."
    assert events[-1] == TextEvent(0, "", "end", written=1)


def test_max_tokens_is_the_most(bpe):
    events = write(bpe, spell(bpe, "abcdef"), max_tokens=4)
    assert joined(events) == "abcd"
    assert events[-1].finished == "length"


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_prompt_and_continuation_join_to_the_text(kind, at):
    """The first word a word-level model wrote once stuck to the prompt: "the cat" + "sat" was "the catsat"."""
    vocabulary = tokenizer(kind)
    ids = vocabulary.encode(TEXT.split("\n")[0])
    prompt = vocabulary.decode(ids[:at])
    events = write(vocabulary, ids[at:], prompt=prompt)
    assert prompt + joined(events) == vocabulary.decode(ids)


def test_a_word_after_nothing_has_no_space_before_it():
    words = tokenizer("word")
    assert joined(write(words, "the cat sat", prompt="")) == "the cat sat"


@pytest.mark.parametrize(
    "scratch",
    [
        BPETokenizer.train([TEXT], vocab_size=280),
        CharTokenizer.train([TEXT]),
        WordTokenizer.train([TEXT]),
        WordPieceTokenizer.train([TEXT], vocab_size=60),
    ],
    ids=lambda scratch: type(scratch).__name__,
)
def test_a_tokenizer_that_is_written_to_be_read_generates(scratch):
    """It once ended in an AttributeError."""
    ids = scratch.encode(" the cat sat on the mat.")
    model = scripted(scratch, len(scratch.encode("the dog")), ids)
    config = GenerationConfig(temperature=0, max_tokens=len(ids))
    (text,) = complete(model, scratch, "the dog", config, documents=False)
    assert text.strip() == scratch.decode(ids).strip()


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
def test_events_joined_are_what_complete_returns_and_what_the_ids_say(kind):
    vocabulary = tokenizer(kind)
    model = random_model(vocabulary)
    config = GenerationConfig(max_tokens=50, seed=3)
    texts = [""] * 4
    for event in stream(model, vocabulary, "the cat", config, count=4):
        texts[event.index] += event.text
    assert texts == complete(model, vocabulary, "the cat", config, count=4)
    prompt = prompt_ids(vocabulary, "the cat", documents=True)
    exclude = never_written(vocabulary, documents=True)
    ids = generate_ids(model, prompt, config, count=4, seed=3, exclude=exclude)
    rows = zip(*itertools.islice(ids, 50), strict=True)
    for text, row in zip(texts, rows, strict=True):
        written = list(row[: row.index(vocabulary.end_of_text)] if vocabulary.end_of_text in row else row)
        if vocabulary.joins_bytes:
            assert text == vocabulary.decode(written)
        else:
            assert vocabulary.decode(prompt) + text == vocabulary.decode(prompt + written)


def test_rows_end_at_different_times_and_say_so_once(char):
    model = random_model(char)
    events = list(stream(model, char, "ab", GenerationConfig(max_tokens=8, seed=6), count=8))
    ends = [event for event in events if event.finished]
    assert sorted(event.index for event in ends) == list(range(8))
    assert {event.finished for event in ends} == {"end", "length"}
    lengths = {len(joined([event for event in events if event.index == row])) for row in range(8)}
    assert len(lengths) > 3
    for row in range(8):
        mine = [event for event in events if event.index == row]
        assert mine[-1].finished  # nothing comes after the end
    # All rows over, the model is asked no more: the last event is a row's end.
    assert events[-1].finished


@settings(max_examples=60, deadline=None)
@given(
    stops=st.lists(st.text("ab c", min_size=1, max_size=4), max_size=3),
    seed=st.integers(0, 10_000),
    length=st.integers(1, 30),
)
def test_stopping_equals_cutting_the_whole_text(char, stops, seed, length):
    """Against the plain way: keep writing, and look for a stop string in the whole text after each token."""
    model = random_model(char)
    config = GenerationConfig(max_tokens=length, stop=tuple(stops), seed=seed, temperature=2.0)
    expected, reason = "", "length"
    prompt = prompt_ids(char, "a", documents=True)
    ids = generate_ids(model, prompt, config, seed=seed, exclude=never_written(char, documents=True))
    for (id,) in itertools.islice(ids, length):
        if id == char.end_of_text:
            reason = "end"
            break
        expected += char.decode([id])
        if any(stop in expected for stop in stops):
            expected, reason = expected[: min(expected.find(s) for s in stops if s in expected)], "stop"
            break
    events = list(stream(model, char, "a", config))
    assert joined(events) == expected
    assert events[-1].finished == reason
    assert all(not event.finished for event in events[:-1])


def test_text_outside_the_vocabulary_is_named(char):
    model = random_model(char)
    with pytest.raises(GenerationError, match=r"not in this model's vocabulary: 'x', '7'\. Leave it out"):
        complete(model, char, "axb7x", GREEDY)
    with pytest.raises(GenerationError, match="'zebra'"):
        prompt_ids(tokenizer("word"), "the zebra sat", documents=True)


def test_a_byte_level_prompt_may_be_anything(bpe):
    assert bpe.decode(prompt_ids(bpe, "zebra ☃\n", documents=False)) == "zebra ☃\n"


def test_an_empty_prompt_begins_a_document(bpe):
    end = bpe.end_of_text
    assert prompt_ids(bpe, "", documents=False) == bpe.encode("\n")
    assert prompt_ids(bpe, "", documents=True) == [end]
    assert prompt_ids(bpe, "a", documents=True) == [end, *bpe.encode("a")]
    assert prompt_ids(bpe, "a", documents=False) == bpe.encode("a")
    assert prompt_ids(tokenizer("word"), "  ", documents=False) == [tokenizer("word").end_of_text]
    assert joined(write(bpe, "the end", prompt="")) == "the end"


def test_without_documents_the_end_of_text_is_never_written(bpe):
    ids = [*spell(bpe, "on"), bpe.end_of_text]
    model = scripted(bpe, len(prompt_ids(bpe, "a", documents=False)), ids)
    config = dataclasses.replace(GREEDY, max_tokens=3)
    events = list(stream(model, bpe, "a", config, documents=False))
    assert events[-1].finished == "length"
    assert "".join(event.text for event in events).startswith("on")


def test_the_unknown_token_is_never_written(char):
    model = scripted(char, len(prompt_ids(char, "a", documents=True)), [char.unknown_id] * 4)
    assert "<|unk|>" not in complete(model, char, "a", dataclasses.replace(GREEDY, max_tokens=4))[0]


def test_the_name_of_the_special_token_in_a_prompt_is_plain_text(bpe):
    ids = prompt_ids(bpe, "<|endoftext|>", documents=False)
    assert bpe.end_of_text not in ids


def test_the_cache_does_not_change_the_text(bpe):
    model = random_model(bpe)
    config = GenerationConfig(max_tokens=50, seed=9)
    with_cache, without = (list(stream(model, bpe, "the", config, use_cache=use)) for use in (True, False))
    assert with_cache == without


def test_the_models_mode_is_back_at_once(bpe):
    model = random_model(bpe).train()
    complete(model, bpe, "the", GREEDY)
    assert model.training
    events = stream(model, bpe, "the", GREEDY)
    next(events)
    events.close()  # a person pressed Ctrl-C
    assert model.training


def test_bad_settings_are_refused():
    with pytest.raises(GenerationError, match="max_tokens must be at least 1"):
        GenerationConfig(max_tokens=0)
    with pytest.raises(GenerationError, match=r"write \('END',\)"):
        GenerationConfig(stop="END")  # would stop at each of E, N and D
    for seed in (-1, 2**64):
        with pytest.raises(GenerationError, match="seed is"):
            GenerationConfig(seed=seed)
    assert GenerationConfig(seed=2**64 - 1)


def test_no_continuation_at_all_is_refused(bpe):
    with pytest.raises(GenerationError, match="count is 0"):
        complete(random_model(bpe), bpe, "the", GREEDY, count=0)


def test_the_largest_seed_can_be_used(bpe):
    assert complete(random_model(bpe), bpe, "the", GenerationConfig(seed=2**64 - 1, max_tokens=2))
