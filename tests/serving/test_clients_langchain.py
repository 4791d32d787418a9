"""LangChain's two classes for OpenAI against a server that listens."""

from __future__ import annotations

from typing import Any

import pytest

langchain_openai = pytest.importorskip("langchain_openai")
PROMPT = "Once upon a time"


@pytest.fixture
def chat(live: str) -> Any:
    return langchain_openai.ChatOpenAI(
        model="answers",
        base_url=f"{live}/v1",
        api_key="none",
        max_tokens=12,
        seed=3,
        max_retries=0,
    )


@pytest.fixture
def text(live: str) -> Any:
    return langchain_openai.OpenAI(
        model="tales",
        base_url=f"{live}/v1",
        api_key="none",
        max_tokens=12,
        seed=3,
        max_retries=0,
    )


def test_a_chat_whole_and_as_a_stream(chat: Any) -> None:
    asked = [("system", "Be nice."), ("human", "Hi")]
    whole = chat.invoke(asked)
    assert whole.content
    assert whole.usage_metadata["output_tokens"] == 12
    assert whole.response_metadata["finish_reason"] == "length"
    told = list(chat.stream(asked, stream_usage=True))  # at another base URL it asks for none by itself
    assert "".join(chunk.content for chunk in told) == whole.content
    usages = [chunk.usage_metadata for chunk in told if chunk.usage_metadata]
    assert [usage["output_tokens"] for usage in usages] == [12]


def test_a_conversation_goes_on(chat: Any) -> None:
    first = chat.invoke("Hi")
    assert chat.invoke([("human", "Hi"), first, ("human", "And?")]).content


def test_tools_get_plain_text(chat: Any) -> None:
    def weather(city: str) -> str:
        """Tell the weather."""
        return city

    answer = chat.bind_tools([weather]).invoke("Hi")
    assert answer.content == chat.invoke("Hi").content
    assert answer.tool_calls == []


def test_log_probabilities_reach_the_caller(chat: Any) -> None:
    answer = chat.bind(logprobs=True, top_logprobs=2).invoke("Hi")
    assert len(answer.response_metadata["logprobs"]["content"]) == 12


def test_a_text_whole_and_as_a_stream(text: Any) -> None:
    whole = text.invoke(PROMPT)
    assert whole
    assert "".join(text.stream(PROMPT)) == whole
    several = text.generate([PROMPT, "A cat"])
    assert several.generations[0][0].text == whole
    assert several.llm_output["token_usage"]["completion_tokens"] == 24


def test_a_stop_is_kept(text: Any) -> None:
    whole = text.invoke(PROMPT)
    stop = whole[4:6]
    assert text.invoke(PROMPT, stop=[stop]) == whole[: whole.index(stop)]


def test_embeddings(live: str) -> None:
    placing = langchain_openai.OpenAIEmbeddings(
        model="tales", base_url=f"{live}/v1", api_key="none", check_embedding_ctx_length=False
    )
    vectors = placing.embed_documents(["A cat sat.", "A dog ran."])
    assert [len(vector) for vector in vectors] == [16, 16]
