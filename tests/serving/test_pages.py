"""The page at /docs works without a network, and what it describes is what the server does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from glassgpt.serving.schemas import ChatAsked, CompletionAsked
from tests.fixtures.browser import CHROMIUM


def test_the_page_loads_only_from_here(client: Any) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(loaded) == 3
    assert all(address.startswith("/docs/files/") for address in loaded)
    for address in loaded:
        assert client.get(address).status_code == 200
    assert "http" not in re.sub(r"<!--.*?-->", "", page.text)


def described(client: Any) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def test_the_description_is_of_the_version_that_the_page_reads(client: Any) -> None:
    whole = described(client)
    assert whole["openapi"].startswith("3.0.")

    def parts(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            yield value
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from parts(one)

    for part in parts(whole):
        assert part.get("type") != "null"
        assert "const" not in part
        assert isinstance(part.get("exclusiveMinimum", True), bool)


def test_streams_are_described(client: Any) -> None:
    for path in ("/v1/completions", "/v1/chat/completions"):
        kinds = described(client)["paths"][path]["post"]["responses"]["200"]["content"]
        assert set(kinds) == {"application/json", "text/event-stream"}


def test_every_field_is_described(client: Any) -> None:
    schemas = described(client)["components"]["schemas"]
    for asked in (CompletionAsked, ChatAsked):
        assert set(schemas[asked.__name__]["properties"]) == set(asked.model_fields)


def test_every_example_works(client: Any) -> None:
    """It is what the page sends when one tries an address."""
    whole = described(client)
    tried = 0
    for path, methods in whole["paths"].items():
        for method, of_it in methods.items():
            if "requestBody" in of_it:
                name = of_it["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[
                    2
                ]
                example = whole["components"]["schemas"][name]["example"] | {"model": "answers"}
                answer = client.request(method, path, json=example)
                assert answer.status_code == 200, answer.text
                tried += 1
    assert tried == 5


def test_the_page_shows_every_address_in_a_browser(live: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `browser` is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{live}/docs")
        page.wait_for_selector(".opblock")
        assert page.locator(".opblock").count() == 10
        assert page.locator(".errors-wrapper").count() == 0
        assert all(url.startswith((live, "data:")) for url in asked)
        browser.close()
