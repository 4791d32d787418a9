"""Data sets of the Hugging Face hub, streamed through `datasets`: `hf:owner/name[/config][:split][#column]`.

Rows arrive one by one over the network; nothing is stored. The hub offers no content hash before the last
row, so such a source is identified by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from glassgpt.corpus.documents import Document
from glassgpt.corpus.records import text_of
from glassgpt.errors import CorpusError, GlassGPTError, OfflineError, require

SPEC = re.compile(
    r"hf:(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?::(?P<split>[^#:]+))?(?:#(?P<column>.+))?"
)
NETWORK_LIBRARIES = {"httpx", "httpcore", "requests", "aiohttp", "fsspec", "huggingface_hub"}


@dataclass(frozen=True, slots=True)
class HubSpec:
    """Which rows of which data set: a repository, its configuration, its split, and the text's column."""

    name: str
    config: str | None
    split: str
    column: str | None


def parse_spec(spec: str) -> HubSpec:
    """Read `hf:owner/name[/config][:split][#column]`. Raises `CorpusError` when it is not of that form."""
    match = SPEC.fullmatch(spec)
    if match is None:
        raise CorpusError(
            f"{spec!r} does not name a data set. The form is hf:owner/name[/config][:split][#column], "
            "for example hf:roneneldan/TinyStories:train#text."
        )
    return HubSpec(match["name"], match["config"], match["split"] or "train", match["column"])


def read_hub(spec: str, text_field: str | None = None) -> Iterator[Document]:
    """Yield one document for each row. Raises `OfflineError` when the hub cannot be reached."""
    wanted = parse_spec(spec)
    datasets = require("datasets", extra="data", purpose="read data sets of the Hugging Face hub")
    try:
        rows = datasets.load_dataset(wanted.name, wanted.config, split=wanted.split, streaming=True)
        for number, row in enumerate(rows, start=1):
            source = f"{spec}, row {number}"
            yield Document(text_of(row, wanted.column or text_field, source), source)
    except GlassGPTError:
        raise
    except (datasets.exceptions.DatasetNotFoundError, ValueError) as error:
        raise CorpusError(f"{spec} cannot be read: {error}") from error
    except Exception as error:
        if not _is_network(error):
            raise
        raise OfflineError(
            f"{spec} could not be reached: {' '.join(str(error).split())}. Check the network and that "
            "the data set exists, or use a file of your own or `builtin:tinytales`, which need no network."
        ) from error


def _is_network(error: Exception) -> bool:
    """Return whether an error comes from the connection; the libraries involved do not share a base class."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or not modules.isdisjoint(NETWORK_LIBRARIES)
