"""Well-known small corpora, by name: downloaded once, checked against their hash, then read from the cache.

Without a network, put the same file by hand where the message says; it works as well as the download.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glassgpt import files


@dataclass(frozen=True, slots=True)
class Download:
    """A file on the web whose content hash is known in advance."""

    url: str
    sha256: str
    bytes: int
    filename: str


DOWNLOADS = {
    "tinyshakespeare": Download(
        url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        bytes=1_115_394,
        filename="tinyshakespeare.txt",
    ),
    "the-verdict": Download(
        url="https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/ch02/01_main-chapter-code/the-verdict.txt",
        sha256="b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f",
        bytes=20_479,
        filename="the-verdict.txt",
    ),
}

# Short names for data sets on the hub: too large for one download, so they are always streamed.
HUB_NAMES = {"tinystories": "hf:roneneldan/TinyStories:train#text"}


def named_corpora() -> list[str]:
    """Return the names that can be given instead of a path."""
    return [*DOWNLOADS, *HUB_NAMES]


def fetch(name: str) -> Path:
    """Return the named corpus as a local file. Raises `OfflineError` when it cannot be downloaded."""
    corpus = DOWNLOADS[name]
    return files.download(corpus.url, sha256=corpus.sha256, name=corpus.filename)
