"""Minutes of mixed clients: whole texts, streams, some that leave in the middle, some that send nonsense."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.serving.conftest import listening

HI = [{"role": "user", "content": "Hi"}]
CLIENTS = 24


async def ask(client: httpx.AsyncClient, chance: random.Random) -> None:
    """One client does one thing; what it gets is checked."""
    body: dict[str, Any] = {
        "model": chance.choice(["tales", "answers", "letters"]),
        "seed": chance.randrange(9),
    }
    tokens, what = chance.randrange(1, 60), chance.randrange(6)
    if what == 0:
        answer = await client.post("/v1/completions", json={**body, "prompt": "the", "max_tokens": tokens})
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] <= tokens
    elif what == 1:
        body |= {"model": "answers", "messages": HI, "max_tokens": tokens, "stream": True}
        answer = await client.post("/v1/chat/completions", json=body)
        assert answer.text.endswith("data: [DONE]\n\n")
        assert "error" not in answer.text
    elif what == 2:  # leaves in the middle, or before it begins
        body |= {"prompt": "the", "max_tokens": 2000, "stream": chance.random() < 0.7}
        try:
            async with asyncio.timeout(chance.random() * 0.3):
                async with client.stream("POST", "/v1/completions", json=body) as stream:
                    async for _ in stream.aiter_lines():
                        pass
        except TimeoutError:
            pass
    elif what == 3:
        broken = chance.randbytes(chance.randrange(400))
        head = {"Content-Type": "application/json"}
        answer = await client.post("/v1/completions", content=broken, headers=head)
        assert answer.status_code == 400
    elif what == 4:
        answer = await client.post("/v1/completions", json={**body, "prompt": "the", "temperature": -1})
        assert answer.json()["error"]["param"] == "temperature"
    else:
        several = ["the cat"] * chance.randrange(1, 5)
        answer = await client.post("/v1/embeddings", json={"model": body["model"], "input": several})
        assert len(answer.json()["data"]) == len(several)


async def crowd(address: str, seconds: float) -> int:
    """Let many clients ask for some seconds; return how many requests were answered as they should be."""
    end, done = time.monotonic() + seconds, 0

    async def one(number: int) -> None:
        nonlocal done
        chance = random.Random(number)
        async with httpx.AsyncClient(base_url=address, timeout=120) as client:
            while time.monotonic() < end:
                await ask(client, chance)
                done += 1

    await asyncio.gather(*map(one, range(CLIENTS)))
    return done


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_and_memory_stays(trained: Path, serve: Callable[..., Any]) -> None:
    seconds = float(os.environ.get("GLASSGPT_SOAK_SECONDS", "120"))
    process = psutil.Process()
    with listening(serve(trained / "tales", trained / "answers", trained / "letters")) as address:
        fixed = {"model": "tales", "prompt": "the", "max_tokens": 40, "seed": 5}
        before = httpx.post(f"{address}/v1/completions", json=fixed).json()["choices"]
        assert asyncio.run(crowd(address, seconds))
        held = process.memory_info().rss
        assert asyncio.run(crowd(address, seconds))
        assert process.memory_info().rss < 1.1 * held
        assert httpx.post(f"{address}/v1/completions", json=fixed).json()["choices"] == before
        texts = [
            line for line in httpx.get(f"{address}/metrics").text.splitlines() if "glassgpt_texts{" in line
        ]
        assert texts
        assert all(line.endswith(" 0.0") for line in texts)
