"""Whatever is sent is honoured or refused by its name, in OpenAI's shape, and the server stays up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serving.conftest import CONTEXT

OF_CHATS = "/v1/chat/completions"
OF_TEXTS = "/v1/completions"
HI = [{"role": "user", "content": "Hi"}]


def error_of(answer: Any, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "DATA", "KEY"))
    return error


def sent(client: Any, text: str | bytes, path: str = OF_TEXTS, kind: str = "application/json") -> Any:
    return client.post(path, content=text, headers={"content-type": kind})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperature", ["1", True, -1, "nan", [1], {}]),
        ("top_p", [0, 1.5, "x"]),
        ("top_k", [-2, 1.5, "4", 2**40]),
        ("min_p", [-0.1, 2]),
        ("repetition_penalty", [0, -1]),
        ("n", [0, -1, 10_000, "2", 1.5]),
        ("max_tokens", [-1, 1e9, "16", 2.5]),
        ("seed", ["1", 2**63, 1.5]),
        ("stop", [1, [1], {}, ["x"] * 100, [None], "x" * 2000]),
        ("stream", ["yes", 1]),
        ("stream_options", [{"include_usage": True}, "x"]),  # without a stream
        ("logprobs", [-1, 21, "1"]),
        ("echo", ["true", 1]),
        (
            "logit_bias",
            [
                {"x": 1},
                {"1": 101},
                {"1": "1"},
                {"999999": 1},
                {"-1": 1},
                [1],
                {"1": True},
                {str(id): 1 for id in range(2000)},
            ],
        ),
        ("best_of", [2]),
        ("frequency_penalty", [0.5, True, "0"]),
        ("presence_penalty", [-1]),
        ("suffix", ["x"]),
        ("user", [1, []]),
        ("model", [1, [], True]),
        (
            "prompt",
            [1, {}, [], [[]], [1.5], [True], ["a", 1], [[1], "a", [2, "x"]], [-1], [10**30], [[10**6]]],
        ),
        ("something_else", [1, None]),
        ("max_completion_tokens", [3]),
    ],
)
def test_a_completion_names_what_it_refuses(client: Any, field: str, values: list[Any]) -> None:
    for value in values:
        error = error_of(client.post(OF_TEXTS, json={"model": "tales", "prompt": "Once", field: value}))
        assert (error["param"] or "").split(".")[0] == field, (value, error)
        assert field in error["message"], (value, error)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("messages", [[], "Hi", [1], [{}], [{"role": "tool", "content": "x"}], [{"role": "user"}],
                      [{"role": "user", "content": 1}], [{"role": "user", "content": None}],
                      [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
                      [{"role": "user", "content": [{"type": "text"}]}],
                      [{"role": "user", "content": "x", "name": "Ann"}],
                      [{"role": "assistant", "content": "x", "tool_calls": [{}]}],
                      [{"role": ["user"], "content": "x"}], [{"role": "user", "content": "x", "else": 1}]]),
        ("top_logprobs", [2]),  # without logprobs
        ("max_tokens", [0, -1]),
        ("response_format", [{"type": "json_object"}, {"type": "json_schema"}, "text"]),
        ("tool_choice", ["required", {"type": "function"}]),
        ("functions", [[{"name": "f"}]]),
        ("modalities", [["audio"]]),
        ("audio", [{"voice": "x"}]),
        ("reasoning_effort", ["high"]),
        ("store", [True, 0]),
        ("service_tier", ["flex"]),
        ("web_search_options", [{}]),
        ("prediction", [{"type": "content", "content": "x"}]),
        ("tools", ["x", {}, [1]]),
        ("echo", [True]),
        ("prompt", ["x"]),
    ],
)  # fmt: skip
def test_a_chat_names_what_it_refuses(client: Any, field: str, values: list[Any]) -> None:
    for value in values:
        error = error_of(client.post(OF_CHATS, json={"model": "answers", "messages": HI, field: value}))
        assert (error["param"] or "").split(".")[0] == field, (value, error)
        assert field in error["message"], (value, error)


def test_values_that_ask_for_nothing_are_taken(client: Any) -> None:
    """Clients send these by default."""
    nothing = {
        "user": "me", "metadata": {"a": "b"}, "store": False, "frequency_penalty": 0, "presence_penalty": 0.0,
        "n": 1, "logit_bias": None, "stop": None, "seed": None, "service_tier": "auto", "stream": False,
        "temperature": None, "top_p": 1, "top_k": -1, "min_p": 0, "repetition_penalty": 1, "stream_options": None,
        "safety_identifier": "x", "prompt_cache_key": "y", "logprobs": None,
    }  # fmt: skip
    text = {"best_of": 1, "suffix": None, "echo": False, "max_tokens": 1.0}
    chat = {
        "parallel_tool_calls": False, "tools": [], "tool_choice": "none", "functions": [], "function_call": None,
        "response_format": {"type": "text"}, "modalities": ["text"], "reasoning_effort": None, "verbosity": None,
        "top_logprobs": None, "max_tokens": 1, "max_completion_tokens": None, "audio": None, "prediction": None,
    }  # fmt: skip
    assert client.post(OF_TEXTS, json={"model": "tales", "prompt": "x", **nothing, **text}).status_code == 200
    assert (
        client.post(OF_CHATS, json={"model": "answers", "messages": HI, **nothing, **chat}).status_code == 200
    )


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"1", b"\xff\xfe", b"[" * 100_000, b'{"prompt": ' + b"9" * 6000 + b"}",
        b'{"model": "tales", "prompt": "x", "temperature": NaN}',
        b'{"model": "tales", "prompt": "x", "temperature": 1e999}',
        b'{"model": "tales", "prompt": "x", "seed": -Infinity}',
        b'{"model": "tales", "prompt": "\\ud83d"}',
        b'{"model": "tales", "prompt": ["a", "\\udc00x"]}',
        b'{"model": "tales", "prompt": "x", "stop": "\\ud800"}',
        b'{"model": "tales", "prompt": "x", "\\ud800": 1}',
        b'{"model": "tales", "prompt": "x", "user": "\\ud800", "temperature": "x"}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(client: Any, body: bytes) -> None:
    error_of(sent(client, body))


@pytest.mark.parametrize("path", [OF_CHATS, "/v1/embeddings", "/tokenize", "/detokenize"])
def test_each_address_refuses_what_is_not_its_own(client: Any, path: str) -> None:
    for body in (b"{", b"[]", b"{}", b'{"model": "tales", "else": 1}'):
        error_of(sent(client, body, path))


def test_a_page_elsewhere_cannot_send_json_as_text(client: Any) -> None:
    """A browser sends text/plain to any address without asking it first."""
    error = error_of(sent(client, b'{"model": "tales", "prompt": "x"}', kind="text/plain"))
    assert "Content-Type: application/json" in error["message"]


def test_an_unknown_model_is_told_those_that_are(client: Any) -> None:
    for path, body in (
        (OF_TEXTS, {"prompt": "x"}),
        (OF_CHATS, {"messages": HI}),
        ("/tokenize", {"prompt": "x"}),
    ):
        error = error_of(client.post(path, json={"model": "tails", **body}), 404)
        assert error["code"] == "model_not_found"
        assert "Did you mean tales?" in error["message"]
        assert "tales, answers, letters" in error["message"]
    assert error_of(client.get("/v1/models/nothing"), 404)["code"] == "model_not_found"


def test_a_name_that_is_no_unicode_is_an_unknown_model(client: Any) -> None:
    error_of(sent(client, b'{"model": "\\ud800", "prompt": "x"}'), 404)


def test_a_model_must_be_named_where_there_are_several(client: Any) -> None:
    assert error_of(client.post(OF_TEXTS, json={"prompt": "x"}))["param"] == "model"


def test_a_prompt_beyond_the_context_names_the_limit(client: Any) -> None:
    error = error_of(client.post(OF_TEXTS, json={"model": "tales", "prompt": "a cat " * 60}))
    assert f"{CONTEXT} tokens" in error["message"]
    assert error["code"] == "context_length_exceeded"
    error = error_of(client.post(OF_TEXTS, json={"model": "tales", "prompt": [[5], [5] * CONTEXT]}))
    assert error["param"] == "prompt.1"
    assert client.post(OF_TEXTS, json={"model": "tales", "prompt": [5] * (CONTEXT - 1)}).status_code == 200


def test_text_that_is_not_in_the_vocabulary_is_named(client: Any) -> None:
    error = error_of(client.post(OF_TEXTS, json={"model": "letters", "prompt": "the CAT"}))
    assert "'C'" in error["message"]


def test_addresses_and_methods_that_are_not_there(client: Any) -> None:
    assert "/docs" in error_of(client.get("/v2/models"), 404)["message"]
    assert "POST" in error_of(client.get(OF_TEXTS), 405)["message"]
    assert client.get(OF_TEXTS).headers["allow"] == "POST"


def test_an_error_before_the_first_event_is_no_stream(client: Any) -> None:
    for more in ({"model": "nope"}, {"prompt": "a cat " * 60}, {"temperature": -1}):
        answer = client.post(OF_TEXTS, json={"model": "tales", "prompt": "x", "stream": True, **more})
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.text)["error"]
