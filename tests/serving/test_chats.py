"""`/v1/chat/completions`: a run that was taught answers; one that was not says what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from glassgpt.chat.conversation import Chat, template_of
from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.opening import open_run
from tests.serving.conftest import CONTEXT, teach
from tests.serving.test_completions import events

HI = [{"role": "user", "content": "Hi"}]


def said(client: Any, messages: Any = HI, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json={"model": "answers", "messages": messages, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: Any, messages: Any = HI, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json={"model": "answers", "messages": messages, **body})
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def prompt_tokens(client: Any, messages: Any, model: str = "answers") -> int:
    return said(client, messages, max_tokens=1, model=model)["usage"]["prompt_tokens"]


def test_the_answer_is_that_of_a_conversation(client: Any, trained: Path) -> None:
    run = open_run(str(trained / "answers"))
    template = template_of(run)
    assert template is not None
    config = GenerationConfig(max_tokens=9, temperature=0)
    expected = "".join(event.text for event in Chat(run, template, system="Be nice.").ask("Hi", config))
    answer = said(client, [{"role": "system", "content": "Be nice."}, *HI], max_tokens=9, temperature=0)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": expected, "refusal": None}


def test_a_base_model_says_where_to_send_and_how_to_teach(client: Any) -> None:
    error = refused(client, model="tales")
    assert "/v1/completions" in error["message"]
    assert "glassgpt finetune sft tales" in error["message"]
    assert error["code"] == "no_chat_template"


def test_both_names_of_the_limit_are_one(client: Any) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        assert said(client, **{name: 3}, seed=1)["usage"]["completion_tokens"] == 3
    assert said(client, max_tokens=3, max_completion_tokens=3, seed=1)["usage"]["completion_tokens"] == 3
    assert "differ" in refused(client, max_tokens=3, max_completion_tokens=4)["message"]


def test_without_a_limit_the_context_is_filled_at_most(client: Any) -> None:
    usage = said(client, temperature=0)["usage"]
    assert usage["total_tokens"] == CONTEXT


def test_the_stop_token_of_the_template_ends_an_answer(client: Any, trained: Path) -> None:
    end = open_run(str(trained / "answers")).tokenizer.end_of_text
    answer = said(client, logit_bias={str(end): 100})
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["content"] == ""
    assert answer["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "developer", "content": "Be nice."}, *HI],
        [
            *HI,
            {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": None, "audio": None},
            *HI,
        ],
        [*HI, *HI],
        [*HI, {"role": "assistant", "content": None}],
        [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "you"}]}],
        [{"role": "user", "content": ""}],
    ],
)
def test_what_clients_send_is_taken(client: Any, messages: Any) -> None:
    assert said(client, messages, max_tokens=2)["choices"][0]["finish_reason"] == "length"


def test_parts_are_one_text(client: Any) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "you"}]}]
    assert prompt_tokens(client, parts) == prompt_tokens(client, [{"role": "user", "content": "Hi\nyou"}])


def test_tools_get_plain_text(client: Any) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    more = {"tools": [tool], "tool_choice": "auto", "parallel_tool_calls": True, "seed": 2, "max_tokens": 4}
    plain = said(client, seed=2, max_tokens=4)
    assert said(client, **more)["choices"] == plain["choices"]
    assert refused(client, tools=[tool], tool_choice="required")["param"] == "tool_choice"


def test_log_probabilities_have_the_form_of_chats(client: Any) -> None:
    answer = said(client, logprobs=True, top_logprobs=2, max_tokens=6, seed=1)
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == answer["usage"]["completion_tokens"] == 6
    spelled = bytes(byte for token in content for byte in token["bytes"])
    assert spelled.decode("utf-8", "replace") == answer["choices"][0]["message"]["content"]
    for token in content:
        first, second = token["top_logprobs"]
        assert first["logprob"] >= max(second["logprob"], token["logprob"])
    alone = said(client, logprobs=True, max_tokens=2)["choices"][0]["logprobs"]["content"]
    assert [token["top_logprobs"] for token in alone] == [[], []]
    assert said(client, max_tokens=2)["choices"][0]["logprobs"] is None


def test_a_stream_says_who_speaks_then_what_then_why_it_ended(client: Any) -> None:
    body = {"model": "answers", "messages": HI, "max_tokens": 20, "seed": 4, "n": 2, "logprobs": True}
    whole = said(client, **body)
    told = events(
        client.post(
            "/v1/chat/completions", json=body | {"stream": True, "stream_options": {"include_usage": True}}
        )
    )
    assert told[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        parts = [each for event in told for each in event["choices"] if each["index"] == choice["index"]]
        assert parts[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert parts[-1]["delta"] == {}
        assert [part["finish_reason"] for part in parts[:-1]] == [None] * (len(parts) - 1)
        assert parts[-1]["finish_reason"] == choice["finish_reason"]
        assert "".join(part["delta"].get("content", "") for part in parts) == choice["message"]["content"]
        tokens = [token for part in parts if part["logprobs"] for token in part["logprobs"]["content"]]
        # The compiled loops may take over from torch between the two requests, which round differently.
        expected = choice["logprobs"]["content"]
        assert [token["bytes"] for token in tokens] == [token["bytes"] for token in expected]
        assert [token["logprob"] for token in tokens] == pytest.approx(
            [token["logprob"] for token in expected], abs=1e-5
        )


def test_a_conversation_beyond_the_context_names_the_limit(client: Any) -> None:
    error = refused(client, [{"role": "user", "content": "a cat " * 100}])
    assert f"{CONTEXT} tokens" in error["message"]
    assert error["code"] == "context_length_exceeded"


ALTERNATING = """\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('roles must alternate') }}{% endif %}[{{ message['content'] }}]{% endfor %}"""
WITHOUT_SYSTEM = """\
{% for message in messages if message['role'] != 'system' %}[{{ message['content'] }}]{% endfor %}"""


@pytest.mark.parametrize("template", [ALTERNATING, WITHOUT_SYSTEM])
def test_a_template_that_knows_fewer_roles_gets_the_same_words(
    trained: Path, tmp_path: Path, serve: Callable[..., Any], template: str
) -> None:
    """Clients send a system prompt and several messages of a user in a row; a template may allow neither."""
    folder = Path(shutil.copytree(trained / "answers", tmp_path / "strict"))
    teach(folder, template, "<|endoftext|>")
    with TestClient(serve(folder)) as client:
        system = [{"role": "system", "content": "Be nice."}, *HI, *HI]
        ids = client.post("/tokenize", json={"messages": system}).json()["tokens"]
        text = client.post("/detokenize", json={"tokens": ids}).json()["prompt"]
        assert text == "[Be nice.\n\nHi\n\nHi]"
        assert said(client, system, max_tokens=1, model="strict")


def test_a_template_that_fails_is_told_without_its_path(
    trained: Path, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    folder = Path(shutil.copytree(trained / "answers", tmp_path / "broken"))
    teach(folder, "{{ raise_exception('never') }}", "<|endoftext|>")
    with TestClient(serve(folder)) as client:
        error = refused(client, model="broken")
    assert "never" in error["message"]
    assert str(tmp_path) not in error["message"]
