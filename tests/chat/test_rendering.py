"""Templates from elsewhere are programs by others: each gives a text or an error that names the template."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt.chat import rendering
from glassgpt.chat.messages import Message
from glassgpt.chat.rendering import Worker
from glassgpt.chat.stored import check_chat_template, read_chat_template
from glassgpt.chat.templates import ChatTemplate
from glassgpt.errors import ConfigError

# Where the system limits no memory, the process is stopped for its time.
ENDS = "(more memory|longer than|more than)"
TALK = [Message("user", "Who?"), Message("assistant", "A model.")]
ECHO = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>\n{% endfor %}"


def foreign(source: str) -> ChatTemplate:
    return ChatTemplate(source, "<|end|>", "<|end|>", ("<|end|>",), "The chat template x.jinja")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ 1/0 }}", "ZeroDivisionError"),
        ("{{ 'x' * 10**10 }}", "repeats a text"),
        ("{{ [0] * 10**10 }}", "repeats a text"),
        ("{{ 10 ** (10 ** 10) }}", "power"),
        ("{{ 'x' | center(10**11) }}", ENDS),
        ("{{ '{:>100000000000}'.format(1) }}", ENDS),
        ("{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", ENDS),
        ("{% for i in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}", "writes more than"),
        ("{% include 'other' %}", "no loader"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself"),
        ("{{ raise_exception('no user') }}", "no user"),
        ("{{ messages[0].content.no.such }}", "no attribute"),
        ("{% for %}", "not valid Jinja"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{" * 5000, "not valid Jinja"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_one_sentence(source: str, said: str) -> None:
    """`{{ 1/0 }}`, an include and an endless text once ended in tracebacks or filled the memory."""
    with pytest.raises(ConfigError, match=f"The chat template x.jinja .*{said}") as caught:
        foreign(source).render(TALK)
    assert "\n" not in str(caught.value)


def test_a_loop_without_an_end_is_stopped_and_the_next_template_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 1.0)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}"
    with pytest.raises(ConfigError, match=r"takes longer than 1 seconds"):
        foreign(loops + "{% endfor %}{% endfor %}").render(TALK)


def test_a_process_that_was_lost_is_started_again() -> None:
    worker = Worker(ECHO, "The template")
    values = {"messages": [{"role": "user", "content": "Who?"}]}
    assert worker(values) == "user: Who?<|end|>\n"
    assert worker._process is not None
    worker._process.kill()
    with pytest.raises(ConfigError, match="The template cannot write"):
        worker(values)
    assert worker(values) == "user: Who?<|end|>\n"


def test_a_template_in_which_the_answer_vanishes_is_refused() -> None:
    silent = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}<|end|>"
    with pytest.raises(ConfigError, match=r"leaves the answer 'A model.' out"):
        foreign(silent.replace("<|end|>", "")).parts(TALK)


def test_what_hugging_faces_templates_use_is_there() -> None:
    source = (
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content | tojson }}{% endfor %}"
        "{% generation %}{{ '<b>' | tojson }}{% endgeneration %}{{ strftime_now('%Y') | length }}"
    )
    assert foreign(source).render([Message("user", "é<")]) == '"é<""<b>"4'


def test_a_template_file_is_text_of_a_templates_size(tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_bytes(b"{{ messages }}\xff")
    with pytest.raises(ConfigError, match=r"chat_template.jinja is not UTF-8"):
        read_chat_template(path)
    path.write_text("x" * 1_000_001)
    with pytest.raises(ConfigError, match=r"more than 1,000,000 characters"):
        read_chat_template(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_chat_template(tmp_path)
    with pytest.raises(ConfigError, match="not text but int"):
        check_chat_template(7, path)
    path.write_text(ECHO)
    assert read_chat_template(path) == ECHO


BITS = ["{{", "}}", "{%", "%}", " for m in messages ", " endfor ", " m.content ", " messages ", "|trim",
        "|length", "|upper", "[0]", ".content", " if ", " endif ", "+", "~", "'x'", " 1 ", "*", "/", "<|end|>",
        "{#", "-"]  # fmt: skip


@settings(max_examples=25)
@given(source=st.lists(st.sampled_from(BITS) | st.text(max_size=3), max_size=12).map("".join))
def test_any_source_ends_in_a_text_or_a_sentence(source: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(foreign(source).render(TALK, answer=True), str)
        foreign(source).parts(TALK)
