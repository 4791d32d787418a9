"""Where the text of a run is now, identified by its hash."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glassgpt.corpus.sources import open_sources
from glassgpt.errors import GlassGPTError, RunError
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.places import absolute, find, is_there
from glassgpt.runs.reading import read_lineage


def find_text(
    directory: RunDirectory, config: RunConfig, given: Sequence[str] = (), *, ask: str = "resume"
) -> RunConfig:
    """Return the config with the current place of each source of a run; `given` replaces the config's places.

    `ask` is the command that an error advises for naming the new place of a text.

    Raises `RunError` when a source cannot be found, or is not what the run was trained on.
    """
    lineage = read_lineage(directory)
    if not given and all(map(is_there, config.corpus.sources)):
        return config
    known = set(lineage.data.fingerprints) if lineage.data else set()

    def accept(spec: str) -> bool:
        try:
            return all(
                source.fingerprint in known
                for source in open_sources([spec], text_field=config.corpus.text_field)
            )
        except GlassGPTError:
            return False

    if given:
        wrong = [spec for spec in given if not accept(spec)]
        if wrong:
            open_sources(wrong)  # a missing source raises its own error
            raise RunError(
                f"{wrong[0]} is not the text that {directory.name} was trained on: its hash differs. The text has "
                f"changed since the run began, or it is a different text."
            )
        sources = absolute(given)
    else:
        sources = tuple(
            find(spec, directory, accept, setting="--corpus.sources", ask=ask)
            for spec in config.corpus.sources
        )
    return dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, sources=sources))
