"""Fixtures shared by all tests: real texts read in place, and a cache that never touches the home directory."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real texts, or a skip where it is missing."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the folder of real texts, ../shared/data, is not on this machine")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiktoken_cache() -> Path:
    """The folder with GPT-2's vocabulary files as tiktoken caches them, or a skip where it is missing."""
    if not (SHARED / "tiktoken-cache").is_dir():
        pytest.skip("the folder ../shared/tiktoken-cache is not on this machine")
    return SHARED / "tiktoken-cache"


@pytest.fixture(autouse=True)
def isolated_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the download cache at a temporary folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GLASSGPT_CACHE", str(folder))
    return folder
