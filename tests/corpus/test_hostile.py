"""Whatever bytes a file holds, reading it gives documents or a `GlassGPTError`, in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from glassgpt.corpus.records import read_records
from glassgpt.corpus.sources import open_sources, read_all
from glassgpt.errors import GlassGPTError

SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".parquet")
FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
ANY = st.text(st.characters(), max_size=20)  # halves of surrogate pairs, too
NUMBERS = st.integers() | st.integers(10**80, 10**90) | st.floats()
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | ANY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["text", "data", "role", "x"]) | ANY,
                                                                inner, max_size=4),
)  # fmt: skip


def read(path: Path, content: bytes, text_field: str | None = None) -> list[str] | str:
    """Return a file's texts, or the error message: nothing else is allowed."""
    path.write_bytes(content)
    try:
        return [document.text for document in read_all(open_sources([str(path)], text_field=text_field))]
    except GlassGPTError as error:
        message = str(error)
        assert 20 < len(message) < 900, message
        return message


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@FUZZ
@given(
    content=st.binary(max_size=300) | ANY.map(lambda text: text.encode("utf-8", "surrogatepass")),
    cut=st.integers(0, 400),
)
def test_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, packed: str, content: bytes, cut: int
) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packed]
    read(tmp_path_factory.getbasetemp() / f"any{suffix}{packed}", pack(content)[:cut])


@FUZZ
@given(value=VALUES, ascii_only=st.booleans(), field=st.none() | st.just("x"), cut=st.integers(0, 300))
@example(value=[{"text": "\ud800"}], ascii_only=True, field=None, cut=300)
@example(value={"data": [{"text": 1e999}]}, ascii_only=True, field=None, cut=300)
def test_any_json_value(
    tmp_path_factory: pytest.TempPathFactory, value: Any, ascii_only: bool, field: str | None, cut: int
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")
    for suffix in (".json", ".jsonl"):
        texts = read(tmp_path_factory.getbasetemp() / f"any{suffix}", text[:cut], field)
        assert isinstance(texts, str) or all(text.encode() is not None for text in texts)


@FUZZ
@given(st.text(st.sampled_from('{}[]",:\\ \n\r1ae-.u0d8'), max_size=60))
def test_anything_that_looks_like_json(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """The standard parser is the oracle: all that it accepts as JSON is read, record by record, and nothing else."""
    path = tmp_path_factory.getbasetemp() / "like.json"
    path.write_text(text, newline="")
    try:
        expected = json.loads(text)
    except ValueError:
        expected = None
    try:
        found = [record for record, _ in read_records(path)]
    except GlassGPTError:
        assert expected is None
        return
    if isinstance(expected, list):
        assert found == expected
    elif expected is not None:
        assert found == [expected] or found in expected.values()


@FUZZ
@given(st.lists(VALUES, max_size=5), st.integers(1, 40))
def test_records_are_the_same_wherever_the_blocks_end(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], block: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "blocks.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    expected = json.dumps([record for record, _ in read_records(path)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glassgpt.corpus.decoding.CHUNK", block)
        assert json.dumps([record for record, _ in read_records(path)]) == expected


@FUZZ
@given(st.text(st.sampled_from('",;\t|\r\n a.é'), max_size=40))
def test_anything_that_looks_like_a_table(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    read(tmp_path_factory.getbasetemp() / "like.csv", text.encode())


COLUMNS = {
    pa.string(): ANY.map(lambda text: text.encode("utf-8", "replace").decode()), pa.int64(): st.integers(-9, 9),
    pa.binary(): st.binary(max_size=5), pa.list_(pa.int64()): st.lists(st.integers(0, 9), max_size=2),
    pa.float32(): st.floats(width=32), pa.timestamp("ns"): st.integers(-(2**63) + 1, 2**63 - 1),
}  # fmt: skip


@FUZZ
@given(data=st.data(), kind=st.sampled_from(list(COLUMNS)), flips=st.lists(st.integers(0, 5_000), max_size=4))
def test_any_parquet(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: pa.DataType, flips: list[int]
) -> None:
    values = data.draw(st.lists(st.none() | COLUMNS[kind], max_size=6))
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    pq.write_table(pa.table({"text": pa.array(values, kind), "id": range(len(values))}), path)
    content = bytearray(path.read_bytes())
    for place in flips:
        content[place % len(content)] ^= 0x15
    read(path, bytes(content))


def test_text_in_a_parquet_file_that_is_not_utf8(tmp_path: Path) -> None:
    """Arrow accepts such text from other programs and only Python notices; this was once a traceback."""
    wrong = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": wrong}), tmp_path / "a.parquet")
    assert "not UTF-8" in str(read(tmp_path / "a.parquet", (tmp_path / "a.parquet").read_bytes()))


MEGABYTE = 1_000_000
LONG = {
    "deep.json": (b"[" * MEGABYTE, "nested more than|too early"),
    "deeper.json": (b'[{"a":' * 300_000, "nested more than|too early"),
    "deep.jsonl": (b"[" * (5 * MEGABYTE), "nested more than"),
    "number.json": (b'{"text": ' + b"9" * 5_000 + b"}", "a number has 5,000 digits"),
    "number.jsonl": (b'{"text": ' + b"9" * 5_000 + b"}", "a number has 5,000 digits"),
    "digits.json": (b"[" + b"9" * (60 * MEGABYTE) + b"]", "20,000,000 characters"),
    "record.json": (b'{"text": "' + b"a" * (60 * MEGABYTE) + b'"}', "20,000,000 characters"),
    "record.jsonl": (b'{"text": "' + b"a" * (200 * MEGABYTE) + b'"}', "20,000,000 characters"),
    "field.csv": (b'text\n"' + b"ab\n" * (10 * MEGABYTE) + b'"', "20,000,000 characters"),
    "row.csv": (b"id,text\n" + b"a," * (100 * MEGABYTE), "20,000,000 characters"),
    "quotes.csv": (b'id,text\n' + b'"a",' * (50 * MEGABYTE), "20,000,000 characters"),
    "lists.json": (b"[" + b"[]," * 3_000_000 + b"[]]", ""),
    "one.txt": (b"a" * (100 * MEGABYTE), ""),
    "separators.txt": (b"<|endoftext|>" * MEGABYTE, ""),
    "ends.txt": (b"\n" * (5 * MEGABYTE), ""),
}  # fmt: skip
READ = """
import resource, sys
from glassgpt.corpus.sources import open_sources, read_all
from glassgpt.errors import GlassGPTError
resource.setrlimit(resource.RLIMIT_AS, (1_200_000_000,) * 2)
try:
    print(sum(len(document.text) for document in read_all(open_sources([sys.argv[1]]))))
except GlassGPTError as error:
    print(error)
"""


@pytest.mark.parametrize("name", LONG)
def test_endless_values_are_refused_in_bounded_memory(tmp_path: Path, name: str) -> None:
    """A number of 5,000 digits once ended the process, and 100,000 brackets took 7.6 GB. Compressed, a file of a few
    kilobytes is enough for either."""
    content, expected = LONG[name]
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(content, 1))
    del content
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-1_000:]
    assert any(part in done.stdout for part in expected.split("|")), done.stdout[:500]
