"""The `openai` client against a server that listens: what it sends is understood, what it gets it can read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glassgpt.runs.opening import open_run
from tests.serving.conftest import listening

openai = pytest.importorskip("openai")
HI: Any = [{"role": "user", "content": "Hi"}]
PROMPT = "Once upon a time"


def client_of(address: str, **settings: Any) -> Any:
    return openai.OpenAI(base_url=f"{address}/v1", **{"api_key": "none", "max_retries": 0, **settings})


@pytest.fixture(scope="module")
def tongue(live: str) -> Iterator[Any]:
    with client_of(live) as made:
        yield made


def test_it_lists_and_finds_the_runs(tongue: Any) -> None:
    assert [model.id for model in tongue.models.list()] == ["tales", "answers", "letters"]
    found = tongue.models.retrieve("tales")
    assert (found.id, found.object) == ("tales", "model")
    assert found.created > 1_700_000_000


def test_a_completion_whole_and_as_a_stream(tongue: Any) -> None:
    asked: Any = {"model": "tales", "prompt": PROMPT, "max_tokens": 12, "seed": 3, "n": 2, "logprobs": 2}
    whole = tongue.completions.create(**asked)
    assert len(whole.choices) == 2
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 24
    assert len(whole.choices[0].logprobs.tokens) == 12
    told = list(tongue.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    for choice in whole.choices:
        parts = [part for chunk in told for part in chunk.choices if part.index == choice.index]
        assert "".join(part.text for part in parts) == choice.text
        assert parts[-1].finish_reason == choice.finish_reason
    assert told[-1].usage == whole.usage


def test_a_chat_whole_and_as_a_stream(tongue: Any) -> None:
    asked: Any = {
        "model": "answers",
        "messages": HI,
        "max_tokens": 12,
        "seed": 3,
        "logprobs": True,
        "top_logprobs": 2,
    }
    whole = tongue.chat.completions.create(**asked)
    assert whole.choices[0].message.role == "assistant"
    assert len(whole.choices[0].logprobs.content) == 12
    with tongue.chat.completions.stream(**asked) as stream:  # this helper checks each event and joins them
        for _ in stream:
            pass
        joined = stream.current_completion_snapshot
    assert joined.choices[0].message.content == whole.choices[0].message.content
    assert joined.choices[0].finish_reason == whole.choices[0].finish_reason
    # Equal up to rounding: another engine may have taken over between the two.
    for one, other in zip(joined.choices[0].logprobs.content, whole.choices[0].logprobs.content, strict=True):
        assert (one.token, one.bytes) == (other.token, other.bytes)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert len(one.top_logprobs) == 2


def test_embeddings_come_as_numbers(tongue: Any) -> None:
    """The client asks for base64 unless told otherwise, and decodes it itself."""
    asked: Any = {"model": "tales", "input": ["A cat sat.", "A dog ran."]}
    packed = tongue.embeddings.create(**asked)
    plain = tongue.embeddings.create(**asked, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
        assert sum(number**2 for number in one.embedding) == pytest.approx(1, abs=1e-5)
    assert packed.usage.prompt_tokens > 4


def test_errors_become_the_right_exceptions(tongue: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature") as bad:
        tongue.completions.create(model="tales", prompt="x", temperature=-1)
    assert bad.value.param == "temperature"
    with pytest.raises(openai.BadRequestError, match="best_of"):
        tongue.completions.create(model="tales", prompt="x", best_of=2)
    with pytest.raises(openai.BadRequestError, match="/v1/completions") as base:
        tongue.chat.completions.create(model="tales", messages=HI)
    assert base.value.code == "no_chat_template"
    with pytest.raises(openai.NotFoundError, match="tales") as missing:
        tongue.completions.create(model="tails", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        tongue.images.generate(model="tales", prompt="x")
    with pytest.raises(openai.BadRequestError):
        tongue.completions.create(model="tales", prompt="a cat " * 100, stream=True)


def test_several_at_once_write_what_each_writes_alone(live: str, tongue: Any) -> None:
    asked: list[Any] = [
        {"model": ("tales", "answers")[place % 2], "prompt": PROMPT, "max_tokens": 10 + place, "seed": place}
        for place in range(8)
    ]
    alone = [tongue.completions.create(**one).choices[0].text for one in asked]

    async def text_of(client: Any, one: Any, stream: bool) -> str:
        answer = await client.completions.create(**one, stream=stream)
        if not stream:
            return answer.choices[0].text
        return "".join([chunk.choices[0].text async for chunk in answer])

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{live}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(
                *[text_of(client, one, place % 3 == 0) for place, one in enumerate(asked)]
            )

    assert asyncio.run(together()) == alone


def test_the_wrong_key_is_an_authentication_error(trained: Path, serve: Callable[..., Any]) -> None:
    with listening(serve(trained / "tales", api_key="secret")) as address:
        with client_of(address, api_key="secret") as good:
            assert good.completions.create(model="tales", prompt="x", max_tokens=1).choices
        with (
            client_of(address, api_key="wrong") as wrong,
            pytest.raises(openai.AuthenticationError) as refused,
        ):
            wrong.models.list()
        assert refused.value.code == "invalid_api_key"


def test_a_full_server_is_a_rate_limit_that_says_when_to_try_again(
    trained: Path, serve: Callable[..., Any]
) -> None:
    from glassgpt.serving.limits import Limits

    limits = Limits(queue=1, max_tokens=10_000)
    end = str(open_run(str(trained / "tales")).tokenizer.end_of_text)
    asked: Any = {"model": "tales", "prompt": PROMPT, "logit_bias": {end: -100}}  # else it may end at once
    with listening(serve(trained / "tales", limits=limits), limits) as address, client_of(address) as client:
        long = client.completions.create(**asked, max_tokens=10_000, stream=True)
        next(iter(long))
        with pytest.raises(openai.RateLimitError) as full:
            client.completions.create(**asked, max_tokens=1)
        assert full.value.code == "queue_full"
        assert int(full.value.response.headers["retry-after"]) >= 1
        long.close()
        patient = client.with_options(max_retries=8)
        assert patient.completions.create(**asked, max_tokens=1).choices
