"""What programs that cannot run here are known to send: Open WebUI, Continue, and LangChain.js."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving.test_completions import events

httpx = pytest.importorskip("httpx")
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def web(live: str) -> Iterator[Any]:
    with httpx.Client(base_url=live, timeout=60) as made:
        yield made


@pytest.mark.parametrize("base", ["/v1", "/v1/", "", "/"])
@pytest.mark.parametrize(
    "key", [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer undefined", "api-key": ""}]
)
def test_any_base_url_and_any_key(web: Any, live: str, base: str, key: dict[str, str]) -> None:
    """Open WebUI joins the base URL and `/models`; an empty key leaves `Bearer` alone."""
    found = web.get(f"{live}{base}/models", headers=key)
    assert [model["id"] for model in found.json()["data"]] == ["tales", "answers", "letters"]
    body = {"model": "answers", "messages": HI, "max_tokens": 2}
    assert web.post(f"{live}{base}/chat/completions", json=body, headers=key).status_code == 200
    body = {"model": "tales", "prompt": "Once", "max_tokens": 2}
    assert web.post(f"{live}{base}/completions/", json=body, headers=key).status_code == 200


def test_open_webui(web: Any) -> None:
    """A chat as it comes from its window, and the question for a title that follows it."""
    chat = {
        "stream": True,
        "model": "answers",
        "messages": [
            {"role": "system", "content": "User: Ann"},
            *HI,
            {"role": "assistant", "content": ""},
            {"role": "user", "content": [{"type": "text", "text": "And?"}]},
        ],
        "temperature": 0.7, "top_p": 0.9, "max_tokens": 6, "frequency_penalty": 0, "seed": 4, "stop": ["###"],
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    told = events(web.post("/v1/chat/completions", json=chat, headers={"Accept": "text/event-stream"}))
    assert told[-1]["usage"]["completion_tokens"] <= 6
    title = {
        "model": "answers",
        "messages": HI,
        "stream": False,
        "max_completion_tokens": 7,
        "metadata": {"task": "x"},
    }
    assert web.post("/v1/chat/completions", json=title).json()["choices"][0]["message"]["role"] == "assistant"


def test_continue(web: Any) -> None:
    """A chat, and a completion with many stop strings; it asks for more tokens than these models see at once."""
    asked = {
        "model": "answers", "max_tokens": 40, "temperature": 0.5, "stream": True,
        "frequency_penalty": 0, "presence_penalty": 0,
    }  # fmt: skip
    tool = {
        "type": "function",
        "function": {"name": "read", "parameters": {"type": "object", "properties": {}}},
    }
    headers = {"Authorization": "Bearer none", "api-key": "none"}
    messages = [*HI, {"role": "user", "content": " "}, *HI]
    body = {**asked, "messages": messages, "tools": [tool], "parallel_tool_calls": False}
    assert events(web.post("/v1/chat/completions", json=body, headers=headers))
    stops = [f"<|{name}|>" for name in ("fim_prefix", "fim_middle", "fim_suffix", "endoftext")] + [
        "\n\n",
        "/src/",
    ] * 5
    body = {**asked, "prompt": "def add(a, b):\n", "stop": stops}
    assert events(web.post("/v1/completions", json=body, headers=headers))


def test_langchain_js(web: Any) -> None:
    """It sends each setting with its default, and asks for the usage of a stream by itself."""
    told = events(
        web.post(
            "/v1/chat/completions",
            json={
                "model": "answers", "temperature": 1, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "n": 1,
                "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 3, "messages": HI,
            },
        )
    )  # fmt: skip
    assert told[-1]["usage"]["completion_tokens"] == 3
    answer = web.post(
        "/v1/completions",
        json={
            "model": "tales", "temperature": 0.7, "max_tokens": 5, "top_p": 1, "frequency_penalty": 0,
            "presence_penalty": 0, "n": 1, "best_of": 1, "stream": False, "prompt": ["Once", "A cat"],
        },
    )  # fmt: skip
    assert len(answer.json()["choices"]) == 2


def test_the_page_works_without_a_network(web: Any) -> None:
    page = web.get("/docs").text
    assert "http" not in page.replace("http://www.w3.org", "").split("<script>")[0]
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert web.get(f"/docs/files/{name}").status_code == 200
    assert web.get("/openapi.json").json()["paths"]["/v1/completions"]
