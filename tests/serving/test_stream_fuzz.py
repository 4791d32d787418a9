"""Random requests, each sent as a stream and for the whole answer: the two must agree, and a stream must be in form.

Some clients leave in the middle of a stream. Nothing of their requests may be left in the server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from glassgpt.runs.directory import RunDirectory
from glassgpt.serving import worker
from glassgpt.serving.app import create_app
from glassgpt.serving.limits import Limits
from glassgpt.serving.models import Models
from tests.serving.conftest import LINES, TALES, listening

MOST_TEXTS = 6
"""As many as one request here may ask for. The server takes no more, so that one text left over is noticed."""

FUZZ = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failing example is small already, and each costs two requests
    suppress_health_check=[HealthCheck.too_slow],
)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """The fields of all parts."""
    return st.tuples(*parts).map(
        lambda found: {name: value for part in found for name, value in part.items()}
    )


UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
WORDS = st.lists(
    st.sampled_from(["Once", " the", " cat", "\n", "é", "☃", "\u2028", "\x85", "👩‍🚀"]), max_size=5
).map("".join)
TEXTS = WORDS | UNICODE
STOPS = st.sampled_from(["e", " ", "\n", "th", "the", "�", "é", "a cat", "zq", ""]) | UNICODE
IDS = st.lists(st.integers(0, (TALES.tokenizer.vocab_size or 0) - 1), min_size=1, max_size=6)
LOW_IDS = st.integers(0, 15)
"""In every vocabulary here: what ends a text is among them, and so are bytes that are no character by themselves."""
WAITS = st.sampled_from([0, 0.005])
"""Seconds between two events of a stream: with 0 every token has its own event."""
OF_ALL_BUT_SEED = optional(
    n=st.integers(1, 2),
    stop=STOPS | st.lists(STOPS, max_size=3),
    temperature=st.sampled_from([0, 0.7, 1, 3]),
    top_p=st.sampled_from([0.5, 1]),
    top_k=st.integers(-1, 40),
    min_p=st.sampled_from([0, 0.1]),
    repetition_penalty=st.sampled_from([1, 1.5]),
    logit_bias=st.dictionaries(LOW_IDS.map(str), st.integers(-5, 9), max_size=3),
)
OF_ALL = joined(st.fixed_dictionaries({"seed": st.integers(-(2**63), 2**63 - 1)}), OF_ALL_BUT_SEED)
OF_COMPLETIONS = joined(
    st.fixed_dictionaries({"logprobs": st.none() | st.integers(0, 3)}),
    optional(max_tokens=st.integers(0, 20), echo=st.booleans()),
)


def completions(model: str, texts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Requests to continue one of these texts, or several of them."""
    prompts = texts | st.lists(texts, min_size=1, max_size=3)
    return joined(st.fixed_dictionaries({"model": st.just(model), "prompt": prompts}), OF_ALL, OF_COMPLETIONS)


COMPLETIONS = completions("tales", TEXTS | IDS) | completions(
    "letters", st.text(st.sampled_from(sorted(set(LINES))), max_size=12)
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "developer", "user", "assistant"]),
            "content": TEXTS
            | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2),
        }
    ),
    max_size=2,
).map(lambda before: [*before, {"role": "user", "content": "Hi"}])
LOGPROBS = st.sampled_from(
    [{}, {"logprobs": False}, {"logprobs": True}, {"logprobs": True, "top_logprobs": 2}]
)
CHATS = joined(
    st.fixed_dictionaries({"model": st.just("answers"), "messages": MESSAGES}),
    OF_ALL,
    LOGPROBS,
    st.sampled_from(["max_tokens", "max_completion_tokens"]).flatmap(
        lambda name: st.fixed_dictionaries({name: st.integers(1, 20)})
    ),
)
OPTIONS = st.none() | optional(include_usage=st.none() | st.booleans(), include_obfuscation=st.just(False))


@pytest.fixture(scope="module")
def models(trained: Path) -> Models:
    return Models([RunDirectory(trained / name) for name in ("tales", "answers", "letters")])


@pytest.fixture(scope="module")
def client(models: Models) -> Iterator[httpx.Client]:
    """A client of a real server that takes no more texts than one request here may ask for."""
    limits = Limits(queue=MOST_TEXTS)
    with (
        listening(create_app(models, limits), limits) as address,
        httpx.Client(base_url=address, timeout=60) as made,
    ):
        yield made


def path_of(body: dict[str, Any]) -> str:
    return "/v1/chat/completions" if "messages" in body else "/v1/completions"


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the events of a stream, whose every line is checked."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, rest = answer.content.decode().split("\n\n")
    assert rest == ""
    # httpx and others end a line at every character that Python's `splitlines` does, not only at line ends.
    assert [line for line in answer.iter_lines() if line] == events
    assert all(event.startswith("data: ") for event in events)
    *told, last = [event.removeprefix("data: ") for event in events]
    assert last == "[DONE]"
    return [json.loads(one) for one in told]


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the choice whose parts a stream told, in the form of a whole answer."""
    assert [bool(part["finish_reason"]) for part in parts] == [False] * (len(parts) - 1) + [True]
    choice = {"index": parts[0]["index"], "finish_reason": parts[-1]["finish_reason"]}
    logprobs: dict[str, Any] | None = None
    for part in parts:
        if part["logprobs"] is not None:
            logprobs = logprobs or {name: [] for name in part["logprobs"]}
            for name, entries in part["logprobs"].items():
                logprobs[name] = None if entries is None else [*logprobs[name], *entries]
    if "text" in parts[0]:
        return choice | {"logprobs": logprobs, "text": "".join(part["text"] for part in parts)}
    first, *others = [part["delta"] for part in parts]
    assert first == {"role": "assistant", "content": "", "refusal": None}
    assert all(set(delta) <= {"content"} for delta in others)
    content = "".join(delta.get("content", "") for delta in others)
    return choice | {"logprobs": logprobs, "message": {**first, "content": content}}


def about(value: Any) -> Any:
    """Numbers within rounding: the engine may change between two requests. Anything else as it is."""
    if isinstance(value, dict):
        return {name: about(one) for name, one in value.items()}
    if isinstance(value, list):
        return [about(one) for one in value]
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


def logprob_count(choice: dict[str, Any]) -> int:
    """Return the number of tokens with an entry; in a completion every list has as many."""
    logprobs = choice["logprobs"]
    if "content" in logprobs:
        return len(logprobs["content"])
    (count,) = {len(entries) for entries in logprobs.values()}
    return count


def check_same(
    client: httpx.Client, body: dict[str, Any], options: dict[str, Any] | None, wait: float
) -> None:
    """Send a request both ways and compare the answers."""
    whole = client.post(path_of(body), json=body)
    asked = {**body, "stream": True, "stream_options": options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "SHORTEST_WAIT", wait)
        patch.setattr(worker, "TOLD_IN_A_SECOND", 1_000_000)
        streamed = client.post(path_of(body), json=asked)
    assert streamed.status_code == whole.status_code
    if whole.status_code != 200:
        assert whole.status_code == 400
        assert streamed.json() == whole.json()
        return
    expected, told = whole.json(), events_of(streamed)
    kind = "text_completion" if "prompt" in body else "chat.completion.chunk"
    assert {event["object"] for event in told} == {kind}
    assert len({(event["id"], event["created"], event["model"]) for event in told}) == 1
    if options and options.get("include_usage"):
        *told, last = told
        assert last["choices"] == []
        assert last["usage"] == expected["usage"]
        assert all(event["usage"] is None for event in told)
    else:
        assert all("usage" not in event for event in told)
    places: dict[int, list[dict[str, Any]]] = {}
    for event in told:
        (choice,) = event["choices"]
        places.setdefault(choice["index"], []).append(choice)
    choices = [merged(parts) for _, parts in sorted(places.items())]
    assert choices == about(expected["choices"])
    if choices[0]["logprobs"] is not None:
        several = body.get("n", 1) if body.get("echo") else 0
        usage = expected["usage"]
        entries = usage["completion_tokens"] + several * usage["prompt_tokens"]
        assert sum(map(logprob_count, choices)) == entries


@settings(FUZZ, max_examples=120)
@given(body=COMPLETIONS, options=OPTIONS, wait=WAITS)
def test_a_completion_streams_what_it_answers(
    client: httpx.Client, body: dict[str, Any], options: Any, wait: float
) -> None:
    check_same(client, body, options, wait)


@settings(FUZZ, max_examples=80)
@given(body=CHATS, options=OPTIONS, wait=WAITS)
def test_a_chat_streams_what_it_answers(
    client: httpx.Client, body: dict[str, Any], options: Any, wait: float
) -> None:
    check_same(client, body, options, wait)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.005)


def texts_now(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("glassgpt_texts{"))


@settings(FUZZ, max_examples=60)
@given(body=COMPLETIONS | CHATS, events=st.integers(0, 12), tokens=st.sampled_from([3, 40, 5000]))
def test_a_client_that_leaves_takes_everything_with_it(
    client: httpx.Client, models: Models, body: dict[str, Any], events: int, tokens: int
) -> None:
    """After some events, in the middle of them, or after the last one."""
    body = {**body, "max_tokens": tokens, "stream": True}
    body.pop("max_completion_tokens", None)
    with suppress(StopIteration), client.stream("POST", path_of(body), json=body) as answer:
        assert answer.status_code in (200, 400)
        lines = answer.iter_lines()
        for _ in range(events):
            next(lines)
    until(lambda: texts_now(client) == 0)
    until(lambda: not any(loaded.users for loaded in models.loaded))
