"""Templates write the same as in Hugging Face, and separate the assistant's words from all others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.chat.messages import Message
from glassgpt.chat.templates import NEW_TOKENS, ChatTemplate, TemplateName, id_of, make_template
from glassgpt.errors import ConfigError, CorpusError
from glassgpt.finetuning.examples import IGNORE, Fitting
from glassgpt.finetuning.records import Preference
from glassgpt.finetuning.vocabulary import missing, with_special_tokens
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer

# What people write, control tokens and halves of them included.
NAMES = ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_", "end|>", "<", ">", "\U0010fffd", " ", "a"]
written = st.text(min_size=1) | st.lists(st.sampled_from(NAMES), min_size=1, max_size=5).map("".join)
TALK = [
    Message("system", "Be kind."),
    Message("user", "Who are you?"),
    Message("assistant", "A model."),
    Message("user", "Whose?"),
    Message("assistant", "Yours."),
]


@pytest.fixture(scope="module")
def plain() -> FastTokenizer:
    return train_tokenizer(
        ["Who are you? A model. Whose? Yours. Be kind."] * 4, TokenizerConfig(vocab_size=300)
    )


def with_template(name: TemplateName, plain: FastTokenizer) -> tuple[FastTokenizer, ChatTemplate]:
    new = missing(plain, NEW_TOKENS[name])
    tokenizer = with_special_tokens(plain, new) if new else plain
    return tokenizer, make_template(name, tokenizer)


@pytest.mark.parametrize("name", ["chatml", "alpaca"])
@pytest.mark.parametrize("answer", [True, False])
def test_hugging_face_writes_the_same(name: TemplateName, answer: bool, plain: FastTokenizer) -> None:
    transformers: Any = pytest.importorskip("transformers")
    import tokenizers

    tokenizer, template = with_template(name, plain)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(tokenizer.json), eos_token=template.end_of_text
    )
    theirs.chat_template = template.source
    talk = TALK[:4] if answer else TALK
    messages = [{"role": message.role, "content": message.content} for message in talk]
    text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer)
    assert text == template.render(talk, answer=answer)
    ids = theirs.apply_chat_template(messages, add_generation_prompt=answer, return_dict=False)
    assert list(ids) == tokenizer.encode_pieces(template.pieces(talk, answer=answer))


@pytest.mark.parametrize("name", ["chatml", "alpaca"])
def test_the_assistants_parts_are_its_words_and_its_stop(name: TemplateName, plain: FastTokenizer) -> None:
    _, template = with_template(name, plain)
    parts = [("".join(text for text, _ in pieces), assistant) for pieces, assistant in template.parts(TALK)]
    assert [text for text, assistant in parts if assistant] == [
        "A model." + template.stop,
        "Yours." + template.stop,
    ]
    assert template.render(TALK).startswith("".join(text for text, _ in parts))
    assert "".join(text for text, _ in parts[:1]) == template.render(TALK[:2], answer=True)


@pytest.mark.parametrize("name", ["chatml", "alpaca"])
@given(texts=st.lists(written, min_size=2, max_size=6))
def test_every_target_is_the_assistants(name: TemplateName, texts: list[str], plain: FastTokenizer) -> None:
    """For any messages: the decoded targets are the answers with their stop tokens and nothing else."""
    tokenizer, template = with_template(name, plain)
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    turns = [Message("user" if place % 2 == 0 else "assistant", text) for place, text in enumerate(texts)]
    turns = turns[: len(turns) // 2 * 2]
    if not turns:
        return
    example = Fitting(tokenizer, template, 100_000).example(turns, "here")
    assert example is not None
    shown = tokenizer.decode([id for id in example.targets if id != IGNORE], skip_special=False)
    assert shown == "".join(turn.content + template.stop for turn in turns if turn.role == "assistant")


def test_an_example_shifts_its_targets_by_one(plain: FastTokenizer) -> None:
    tokenizer, template = with_template("chatml", plain)
    example = Fitting(tokenizer, template, 1000).example(TALK, "here")
    assert example is not None
    counted = example.targets != IGNORE
    assert (example.targets[counted] == example.ids[1:][counted]).all()
    assert (example.inputs == example.ids[:-1]).all()
    assert example.targets[-1] == id_of(tokenizer, "<|im_end|>")


def test_a_long_answer_is_cut_and_a_long_prompt_refused(plain: FastTokenizer) -> None:
    tokenizer, template = with_template("alpaca", plain)
    short, long = (
        [Message("user", "Who?"), Message("assistant", "A model. " * 50)],
        [
            Message("user", "Who? " * 50),
            Message("assistant", "A."),
        ],
    )
    fitting = Fitting(tokenizer, template, 60)
    example = fitting.example(short, "here")
    assert example is not None
    assert (len(example), fitting.cut) == (60, 1)
    with pytest.raises(CorpusError, match=r"here: the prompt has \d+ tokens.*--too-long skip"):
        fitting.example(long, "here")
    skipping = Fitting(tokenizer, template, 60, skip_long=True)
    assert skipping.example(long, "here") is None
    assert skipping.skipped == 1
    with pytest.raises(CorpusError, match="No record is left"):
        skipping.examples([(long, "here")])


def test_a_template_that_rewrites_the_past_is_refused(plain: FastTokenizer) -> None:
    """Some templates leave out the assistant's thoughts in earlier turns, so these could not be learned."""
    source = "{{ messages | length }}{% for message in messages %}{{ message['content'] }}!{% endfor %}"
    with pytest.raises(ConfigError, match="rewrites earlier turns"):
        ChatTemplate(source, "!", "<|endoftext|>", ()).parts(TALK)
    with pytest.raises(ConfigError, match="not valid Jinja"):
        ChatTemplate("{% for %}", "!", "<|endoftext|>", ()).render(TALK)
    with pytest.raises(ConfigError, match="no user"):
        ChatTemplate("{{ raise_exception('no user') }}", "!", "<|endoftext|>", ()).render(TALK)


def test_new_tokens_leave_every_other_id_as_it_was(plain: FastTokenizer) -> None:
    grown = with_special_tokens(plain, NEW_TOKENS["chatml"])
    assert grown.vocab_size == plain.vocab_size + 2
    assert grown.encode("Who are you?") == plain.encode("Who are you?")
    assert grown.end_of_text == plain.end_of_text
    assert grown.encode("<|im_end|>", allow_special=True) == [plain.vocab_size + 1]
    assert len(grown.encode("<|im_end|>")) > 1  # plain text unless it is allowed
    assert not missing(grown, NEW_TOKENS["chatml"])
    with pytest.raises(ConfigError, match="no special token"):
        id_of(plain, "<|im_end|>")


@pytest.mark.parametrize("name", ["chatml", "alpaca"])
def test_only_what_is_to_be_learned_is_a_target(name: TemplateName, plain: FastTokenizer) -> None:
    tokenizer, template = with_template(name, plain)
    talk = [replace(TALK[2], is_learned=False) if message is TALK[2] else message for message in TALK]
    example = Fitting(tokenizer, template, 256).example(talk, "here")
    assert example is not None
    assert tokenizer.decode(example.targets[example.targets != IGNORE].tolist()) == "Yours."


def test_a_preference_rewards_its_last_answer_only(plain: FastTokenizer) -> None:
    """Earlier answers belong to the prompt; when they were counted, they changed both displayed rewards."""
    tokenizer, template = with_template("chatml", plain)
    preference = Preference(tuple(TALK[:4]), "Yours.", "A model.", "here")
    ((_, pair),) = Fitting(tokenizer, template, 256).pairs([preference])
    assert pair is not None
    learned = [tokenizer.decode(each.targets[each.targets != IGNORE].tolist()) for each in pair]
    assert learned == ["Yours.", "A model."]
