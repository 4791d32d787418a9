"""Several runs at once: loaded when first asked for, anew when their weights change, and gone when they are gone."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file, save_file

from glassgpt import files
from glassgpt.errors import RunError
from glassgpt.generation.text import GenerationConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import open_run
from glassgpt.serving.errors import Refused
from glassgpt.serving.models import SPARE_MEMORY, Models

Result = TypeVar("Result")
ASKED = {"prompt": "a", "max_tokens": 12, "temperature": 0}


def train_further(run: Path) -> None:
    """Write other weights into a run, as the end of a training does."""
    weights = load_file(run / "model.safetensors")
    weights = {
        name: weight + torch.linspace(-1, 1, weight.numel()).view_as(weight)
        for name, weight in weights.items()
    }
    save_file(weights, run / "model.safetensors")
    lineage = json.loads((run / "lineage.json").read_text())
    lineage["weights"] |= {"sha256": files.hash_file(run / "model.safetensors")}
    (run / "lineage.json").write_text(json.dumps(lineage))


def text_of(client: TestClient, model: str = "tales") -> str:
    answer = client.post("/v1/completions", json={"model": model, **ASKED})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def alone(run: Path) -> str:
    return open_run(str(run)).complete("a", GenerationConfig(max_tokens=12, temperature=0))[0]


def test_a_run_that_is_trained_further_is_served_anew(runs: Path, serve: Callable[..., Any]) -> None:
    with TestClient(serve(runs / "tales")) as client:
        before = text_of(client)
        assert before == alone(runs / "tales")
        train_further(runs / "tales")
        after = text_of(client)
    assert after == alone(runs / "tales") != before


def test_a_run_that_is_being_written_is_served_as_before(
    runs: Path, serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """New weights are there, but the lineage that names their hash is not yet: until then they are no run."""
    with TestClient(serve(runs / "tales")) as client:
        before = text_of(client)
        lineage = (runs / "tales/lineage.json").read_text()
        train_further(runs / "tales")
        written = (runs / "tales/lineage.json").read_text()
        (runs / "tales/lineage.json").write_text(lineage)
        assert text_of(client) == before
        assert "the weights of before are served" in caplog.text
        (runs / "tales/lineage.json").write_text(written)
        assert text_of(client) == alone(runs / "tales")


def test_a_run_that_is_removed_is_gone_and_comes_back(runs: Path, serve: Callable[..., Any]) -> None:
    with TestClient(serve(runs / "tales", runs / "letters")) as client:
        before = text_of(client)
        shutil.move(runs / "tales", runs / "elsewhere")
        answer = client.post("/v1/completions", json={"model": "tales", **ASKED})
        assert answer.status_code == 404
        assert "no longer there" in answer.json()["error"]["message"]
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["letters"]
        assert client.get("/v1/models/tales").status_code == 404
        shutil.move(runs / "elsewhere", runs / "tales")
        assert text_of(client) == before


@pytest.mark.parametrize("damage", ["config.toml", "lineage.json", "tokenizer.json", "model.safetensors"])
def test_a_run_that_cannot_be_opened_is_told_without_its_path(
    runs: Path, serve: Callable[..., Any], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    (runs / "tales" / damage).write_bytes(b"damaged")
    with TestClient(serve(runs / "tales", runs / "letters"), raise_server_exceptions=False) as client:
        for more in ({}, {"stream": True}):
            answer = client.post("/v1/completions", json={"model": "tales", **ASKED, **more})
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "model_unavailable"
            assert str(runs) not in answer.text
        assert str(runs) in caplog.text
        assert text_of(client, "letters")


def test_two_runs_of_one_name_are_refused(runs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(runs / "tales", tmp_path / "other" / "tales"))
    with pytest.raises(RunError, match="Two runs are called tales"):
        Models([RunDirectory(runs / "tales"), RunDirectory(other)])
    assert Models([RunDirectory(runs / "tales"), RunDirectory(runs / "tales")]).names == ["tales"]


def running(work: Callable[[], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        return await work()

    return asyncio.run(run())


def test_the_run_that_was_used_least_lately_is_let_go_of(runs: Path) -> None:
    """There is memory for two of three; a run that is in use stays."""

    async def work() -> None:
        models = Models(
            [RunDirectory(runs / name) for name in ("tales", "answers", "letters")],
            free=lambda _: 10 * SPARE_MEMORY if len(models.loaded) < 2 else 0,
        )

        def loaded() -> set[str]:
            return {each.name for each in models.loaded}

        for name in ("tales", "answers"):
            async with models.using(name):
                pass
        async with models.using("tales"):
            pass
        assert loaded() == {"tales", "answers"}
        async with models.using("letters"):
            assert loaded() == {"tales", "letters"}
            async with models.using("answers"):
                assert loaded() == {"answers", "letters"}
                async with models.using("tales"):
                    assert loaded() == {"answers", "letters", "tales"}  # all are in use
        await models.close()

    running(work)


def test_a_run_is_loaded_once_for_all_who_ask_at_once(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        "glassgpt.serving.models.open_run", lambda name, **more: opened.append(name) or open_run(name, **more)
    )

    async def work() -> None:
        models = Models([RunDirectory(runs / "tales")])

        async def use() -> int:
            async with models.using(None) as loaded:
                return id(loaded)

        assert len(set(await asyncio.gather(*(use() for _ in range(8))))) == 1
        await models.close()

    running(work)
    assert len(opened) == 1


def test_what_is_being_written_ends_with_the_weights_that_it_began_with(runs: Path) -> None:
    async def work() -> None:
        models = Models([RunDirectory(runs / "tales")], check_seconds=0)
        async with models.using(None) as before:
            train_further(runs / "tales")
            async with models.using(None) as after:
                assert after is not before
                assert await before.worker.call(lambda: 1) == 1
        assert before.is_old
        before.worker.join(5)
        assert not before.worker.is_alive
        await models.close()

    running(work)


def test_an_unknown_name_in_an_empty_house(tmp_path: Path) -> None:
    models = Models([RunDirectory(tmp_path / "nowhere")])
    with pytest.raises(Refused, match="no longer there"):
        models.find(None)


def test_a_folder_whose_name_is_no_valid_unicode_is_told_and_cannot_be_opened(
    runs: Path, serve: Callable[..., Any]
) -> None:
    folder = Path(shutil.copytree(runs / "tales", runs / "tal\udcffes"))
    with TestClient(serve(folder)) as client:
        (card,) = client.get("/v1/models").json()["data"]
        assert card["id"] == "tal\\udcffes"
        assert client.post("/v1/completions", json=ASKED).json()["error"]["code"] == "model_unavailable"
        assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize("form", ["int8", "bfloat16"])
def test_the_fingerprint_tells_how_the_weights_are_stored(runs: Path, form: Any) -> None:
    """Rounded weights write other texts, so answers for the same seed differ."""

    async def fingerprint(weights: Any) -> str:
        models = Models([RunDirectory(runs / "tales")], weights=weights)
        try:
            async with models.using(None) as loaded:
                return loaded.fingerprint
        finally:
            await models.close()

    assert asyncio.run(fingerprint(form)) == asyncio.run(fingerprint("as-saved")) + f"_{form}"
