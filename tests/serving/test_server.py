"""The server as it runs: real sockets, the real `openai` client, clients that leave or do not read, signals, ports."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from glassgpt.errors import AccessError, ConfigError
from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.opening import open_run
from glassgpt.serving.limits import Limits
from glassgpt.serving.server import bound_socket, hosts_of, refuse_unsafe
from tests.serving.conftest import listening

LONG = {"model": "tales", "prompt": "Once", "max_tokens": 16_000, "temperature": 0}


def numbers(address: str) -> dict[str, float]:
    """The numbers at /metrics, those of a name summed up."""
    found: dict[str, float] = {}
    for line in httpx.get(f"{address}/metrics").text.splitlines():
        if not line.startswith("#"):
            name, value = re.sub(r"\{.*\}", "", line).split()
            found[name] = found.get(name, 0) + float(value)
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to be")


@contextlib.contextmanager
def connected(address: str) -> Iterator[http.client.HTTPConnection]:
    place = urlsplit(address)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def post(connection: http.client.HTTPConnection, body: dict[str, Any]) -> None:
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})


@pytest.mark.parametrize("base", ["/v1", "/v1/", ""])
def test_the_openai_client_completes_and_chats(live: str, trained: Path, base: str) -> None:
    client = openai.OpenAI(base_url=live + base, api_key="none")
    expected = open_run(str(trained / "tales")).complete(
        "Once", GenerationConfig(max_tokens=9, temperature=0)
    )
    assert [model.id for model in client.models.list()] == ["tales", "answers", "letters"]
    whole = client.completions.create(model="tales", prompt="Once", max_tokens=9, temperature=0)
    assert [choice.text for choice in whole.choices] == expected
    stream = client.completions.create(model="tales", prompt="Once", max_tokens=9, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == expected[0]

    asked: Any = {
        "model": "answers",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "seed": 1,
    }
    said = client.chat.completions.create(**asked)
    parts = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert (
        "".join(part.choices[0].delta.content or "" for part in parts[:-1]) == said.choices[0].message.content
    )
    assert parts[-1].usage == said.usage
    vectors = client.embeddings.create(model="tales", input=["a cat", "a dog"])
    assert len(vectors.data) == 2


def test_the_openai_client_raises_the_error_that_was_sent(live: str) -> None:
    client = openai.OpenAI(base_url=f"{live}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="Those that are: tales"):
        client.completions.create(model="nothing", prompt="x")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="tales", prompt="x", temperature=-1, stream=True)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place_at_once(live: str, stream: bool) -> None:
    before = numbers(live).get("glassgpt_cancelled_total", 0)
    with connected(live) as connection:
        post(connection, {**LONG, "stream": stream})
        if stream:
            assert connection.getresponse().readline().startswith(b"data: ")
        until(lambda: numbers(live)["glassgpt_texts"] == 1)
    until(lambda: numbers(live)["glassgpt_texts"] == 0)
    assert numbers(live)["glassgpt_cancelled_total"] == before + 1
    written = numbers(live)["glassgpt_written_tokens_total"]
    time.sleep(0.1)
    assert numbers(live)["glassgpt_written_tokens_total"] == written


def test_a_client_that_does_not_read_holds_up_nobody(trained: Path, serve: Callable[..., Any]) -> None:
    limits = Limits(seconds=1.0)
    with listening(serve(trained / "tales", limits=limits), limits) as address, connected(address) as lazy:
        lazy.connect()
        lazy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        post(lazy, {**LONG, "n": 8, "stream": True})
        assert httpx.post(f"{address}/v1/completions", json={"prompt": "x"}).status_code == 200
        until(lambda: numbers(address)["glassgpt_texts"] == 0)


def test_an_answer_that_takes_too_long_is_ended(trained: Path, serve: Callable[..., Any]) -> None:
    limits = Limits(seconds=0.3)
    with listening(serve(trained / "tales", limits=limits), limits) as address:
        answer = httpx.post(f"{address}/v1/completions", json=LONG, timeout=20)
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "timeout"
        stream = httpx.post(f"{address}/v1/completions", json={**LONG, "stream": True}, timeout=20).text
        *_, last, done = stream.strip().split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "timeout"
        assert done == "data: [DONE]"
        until(lambda: numbers(address)["glassgpt_texts"] == 0)


def test_what_is_not_finished_when_the_server_ends_is_told_so(
    trained: Path, serve: Callable[..., Any]
) -> None:
    limits = Limits(drain_seconds=1)
    server = contextlib.ExitStack()
    address = server.enter_context(listening(serve(trained / "tales", limits=limits), limits))
    with connected(address) as stream, connected(address) as whole:
        post(stream, {**LONG, "n": 8, "stream": True})
        answer = stream.getresponse()
        assert answer.readline().startswith(b"data: ")
        post(whole, {**LONG, "n": 8})
        until(lambda: numbers(address)["glassgpt_texts"] == 16)
        server.close()
        *_, last, done = answer.read().decode().strip().split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutdown"
        assert done == "data: [DONE]"
        assert whole.getresponse().status == 503


def test_a_body_that_does_not_come_is_not_waited_for(trained: Path, serve: Callable[..., Any]) -> None:
    limits = Limits(body_seconds=0.2)
    with listening(serve(trained / "tales", limits=limits), limits) as address, connected(address) as slow:
        slow.putrequest("POST", "/v1/completions")
        slow.putheader("Content-Length", "100")
        slow.endheaders(b'{"prompt":')
        assert slow.getresponse().status == 408


def test_many_clients_get_what_each_gets_alone(live: str) -> None:
    """Streams of many clients at once, each with its own seed: nothing is lost or mixed up."""

    def body(number: int) -> dict[str, Any]:
        return {
            "model": "tales",
            "prompt": f"A {'cat ' * (number % 5)}",
            "max_tokens": 5 + number,
            "seed": number,
        }

    def text(number: int, client: httpx.Client) -> str:
        sent = client.post(f"{live}/v1/completions", json={**body(number), "stream": True}, timeout=60).text
        events = [json.loads(each.removeprefix("data: ")) for each in sent.split("\n\n")[:-2]]
        return "".join(event["choices"][0]["text"] for event in events)

    with httpx.Client() as client:
        alone = [
            client.post(f"{live}/v1/completions", json=body(number)).json()["choices"][0]["text"]
            for number in range(24)
        ]
        together: dict[int, str] = {}
        threads = [
            threading.Thread(target=lambda number=number: together.update({number: text(number, client)}))
            for number in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [together[number] for number in range(24)] == alone


class Process:
    """`glassgpt serve` as a process."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "glassgpt", "serve", *options],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"COLUMNS": "300"},
        )

    def said(self) -> str:
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        _, rest = self._process.communicate(timeout=30)
        return self._process.returncode, rest

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def test_sigterm_finishes_what_is_running(runs: Path) -> None:
    """Also: the first line says the address, and a second server on the port says the way out."""
    with Process(runs.parent, "tales", "--port", "0") as server:
        address = re.search(r"http://[\d.:]+", server.said())
        assert address is not None
        with connected(address[0]) as connection:
            post(connection, {**LONG, "max_tokens": 3000, "stream": True})
            answer = connection.getresponse()
            assert answer.readline().startswith(b"data: ")
            with Process(runs.parent, "answers", "--port", address[0].rpartition(":")[2]) as second:
                status, printed = second.end()
            assert status == 1
            assert "Another program uses port" in printed
            assert "glassgpt serve answers --port" in printed
            server.send(signal.SIGTERM)
            rest = answer.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        assert b'"finish_reason":"length"' in rest
        status, printed = server.end()
    assert status == -signal.SIGTERM
    assert "Traceback" not in printed


@pytest.mark.slow  # another process that loads torch
def test_ctrl_c_ends_it_quietly(runs: Path) -> None:
    with Process(runs.parent, "tales", "--port", "0") as server:
        assert "Serving tales at" in server.said()
        server.send(signal.SIGINT)
        status, printed = server.end()
    assert status == 130
    assert "Traceback" not in printed


def test_an_address_that_cannot_be_had_says_so() -> None:
    with pytest.raises(AccessError, match=r"no address 'nowhere\.invalid'"):
        bound_socket("nowhere.invalid", 0, "tales")
    for port in (99_999, -1):
        with pytest.raises(ConfigError, match="--port"):
            bound_socket("127.0.0.1", port, "tales")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    refuse_unsafe(host, None, ())
    assert hosts_of(host, None) is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", ""])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="--api-key"):
        refuse_unsafe(host, None, ())
    refuse_unsafe(host, "secret", ())
    assert hosts_of(host, "secret") is None


@pytest.mark.parametrize("key", ["", " ", " key", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="--api-key"):
        refuse_unsafe("127.0.0.1", key, ())


@pytest.mark.parametrize("origin", ["*", "https://*.org", "example.org", "http://a/b", ""])
def test_an_origin_must_be_named(origin: str) -> None:
    with pytest.raises(ConfigError, match="--allow-origin"):
        refuse_unsafe("127.0.0.1", None, (origin,))
