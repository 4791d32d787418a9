"""Who may ask: keys, names of hosts, pages of other origins; and how much at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from glassgpt.errors import ConfigError
from glassgpt.serving.errors import Refused
from glassgpt.serving.limits import Admission, Limits
from glassgpt.serving.server import hosts_of

TEXTS = "/v1/completions"


@pytest.fixture
def app(trained: Path, serve: Callable[..., Any]) -> Callable[..., TestClient]:
    def made(**settings: Any) -> TestClient:
        return TestClient(serve(trained / "tales", **settings))

    return made


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", "Bearer s3cre", "Basic s3cret", "s3cret", "Bearer é"]
)
def test_without_the_key_nothing_is_told(app: Callable[..., TestClient], given: str | None) -> None:
    with app(api_key="s3cret") as client:
        headers = {} if given is None else {"Authorization": given.encode()}
        for method, path in (("GET", "/v1/models"), ("POST", TEXTS), ("GET", "/metrics"), ("GET", "/nope")):
            answer = client.request(method, path, headers=headers)  # type: ignore[arg-type]
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert "tales" not in answer.text
        for path in ("/health", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_with_the_key_all_is_open(app: Callable[..., TestClient]) -> None:
    with app(api_key="s3cret") as client:
        for scheme in ("Bearer", "bearer"):
            assert client.get("/v1/models", headers={"Authorization": f"{scheme} s3cret"}).status_code == 200


def test_a_page_cannot_reach_it_through_a_name_of_its_own(app: Callable[..., TestClient]) -> None:
    with app(hosts=hosts_of("127.0.0.1", None)) as client:
        for host in ("localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"):
            assert client.get("/v1/models", headers={"Host": host}).status_code == 200
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
            assert client.get("/v1/models", headers={"Host": host}).status_code == 403


def test_only_named_origins_may_read(app: Callable[..., TestClient]) -> None:
    ask = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST",
           "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
    with app(origins=("http://localhost:3000",), api_key="s3cret") as client:
        answer = client.options(TEXTS, headers=ask)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        answer = client.get("/v1/models", headers={"Origin": "http://localhost:3000"})
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"  # also of a refusal
        answer = client.options(TEXTS, headers={**ask, "Origin": "http://evil.example"})
        assert "access-control-allow-origin" not in answer.headers
    with app() as client:
        assert "access-control-allow-origin" not in client.options(TEXTS, headers=ask).headers


@pytest.mark.parametrize("path", ["/v1//models", "//v1/models/", "/models", "/v1/models/"])
def test_every_way_to_join_a_base_url_leads_there(app: Callable[..., TestClient], path: str) -> None:
    with app() as client:
        assert client.get(path).json()["data"][0]["id"] == "tales"
        assert client.post(path.replace("models", "completions"), json={"prompt": "x"}).status_code == 200


def test_a_body_that_is_too_long_is_not_read(app: Callable[..., TestClient]) -> None:
    with app(limits=Limits(body_bytes=1000)) as client:
        whole = client.post(TEXTS, json={"prompt": "x" * 2000})
        pieces = client.post(
            TEXTS, content=iter([b"x" * 600] * 2), headers={"Content-Type": "application/json"}
        )
        for answer in (whole, pieces):
            assert answer.status_code == 413
            assert "1,000 bytes" in answer.json()["error"]["message"]


def test_more_than_the_limits_is_refused_by_name(app: Callable[..., TestClient]) -> None:
    with app(limits=Limits(max_tokens=20, choices=3, queue=4)) as client:
        for body, field in (
            ({"max_tokens": 21}, "max_tokens"),
            ({"n": 4}, "n"),
            ({"prompt": ["x", "y"], "n": 3}, "prompt"),
        ):
            answer = client.post(TEXTS, json={"prompt": "x", **body})
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == field


def test_a_full_server_says_when_to_try_again() -> None:
    """A request in the middle of the limit is let in when another has ended."""
    admission = Admission(4)
    with admission.of(3):
        with pytest.raises(Refused) as refused, admission.of(2):
            pass
        assert refused.value.status == 429
        assert int(refused.value.headers["Retry-After"]) >= 1
        with admission.of(1):
            assert admission.now == 4
    assert admission.now == 0
    with admission.of(4):
        pass


def test_a_limit_must_be_above_0() -> None:
    for name in ("queue", "seconds", "max_tokens", "drain_seconds"):
        with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} is 0"):
            Limits(**{name: 0})
    with pytest.raises(ConfigError):
        Limits(seconds=float("nan"))
