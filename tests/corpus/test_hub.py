"""Hub specs are understood, rows stream, and a missing network is explained.

The data set is a local folder `owner/name`, which the `datasets` library reads with the same call and the
same streaming code as one on the hub. The library reads its offline switch once, so it runs in a separate
process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glassgpt.corpus.hub import HubSpec, parse_spec
from glassgpt.corpus.sources import open_sources
from glassgpt.errors import CorpusError

PROGRAM = """
import sys
from glassgpt.corpus.sources import open_sources, read_all
from glassgpt.errors import GlassGPTError
for spec in sys.argv[1:]:
    try:
        print([(document.text, document.source) for document in read_all(open_sources([spec]))])
    except GlassGPTError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("hf:a/b", HubSpec("a/b", None, "train", None)),
        ("hf:a/b:validation", HubSpec("a/b", None, "validation", None)),
        ("hf:a/b#story", HubSpec("a/b", None, "train", "story")),
        ("hf:o-1/N.x/raw-v1:dev#text", HubSpec("o-1/N.x", "raw-v1", "dev", "text")),
    ],
)
def test_specs(spec, expected):
    assert parse_spec(spec) == expected


@pytest.mark.parametrize("spec", ["hf:", "hf:name", "hf:a/b:", "hf:a/b#", "hf:a/b/c/d"])
def test_wrong_specs_are_refused_when_opened(spec):
    with pytest.raises(CorpusError, match="for example hf:roneneldan/TinyStories"):
        open_sources([spec])


def test_rows_stream_and_failures_are_explained(tmp_path: Path):
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"text": "one", "note": "eins"}\n{"text": "two", "note": "zwei"}\n')
    specs = [
        "hf:owner/name",
        "hf:owner/name:train#note",
        "hf:owner/name#nothing",
        "hf:owner/name:dev",
        "hf:no/where",
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *specs], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text, note, no_column, no_split, no_network = done.stdout.splitlines()
    assert text == "[('one', 'hf:owner/name, row 1'), ('two', 'hf:owner/name, row 2')]"
    assert "eins" in note
    assert no_column.startswith(
        "CorpusError hf:owner/name#nothing, row 1 has no field 'nothing'; its fields are: text"
    )
    assert no_split.startswith("CorpusError hf:owner/name:dev cannot be read: Bad split: dev")
    assert no_network.startswith("OfflineError hf:no/where could not be reached")
    assert "builtin:tinytales" in no_network
