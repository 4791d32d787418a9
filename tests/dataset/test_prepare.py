"""Preparing gives the same ids as encoding by hand, whatever interrupts it, in memory that does not grow."""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt import files
from glassgpt.corpus.documents import Document
from glassgpt.dataset import prepare as prepare_module
from glassgpt.dataset.prepare import JOURNAL, prepare
from glassgpt.dataset.shards import SPLITS, TokenShards
from glassgpt.errors import DiskFullError
from glassgpt.tokenizers.config import TokenizerConfig
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.train import train_tokenizer

GROUP = 400  # characters: a handful of documents


class Counting(FastTokenizer):
    """The real tokenizer, which also remembers what it was asked to encode."""

    encoded: list[str]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        texts = list(texts)
        self.encoded = [*getattr(self, "encoded", []), *texts]
        return super().encode_batch(texts)


@pytest.fixture
def counting(tokenizer: FastTokenizer) -> Counting:
    return Counting.from_json(tokenizer.json)  # type: ignore[return-value]


def stream(texts: list[str], count: int = 60) -> Iterator[tuple[str, Document]]:
    """Documents of different lengths; two of seven are not in `train`."""
    for number in range(count):
        split = {3: "validation", 5: "test"}.get(number % 7, "train")
        yield split, Document(f"{number}: {texts[number % len(texts)]}" * (1 + number % 3), f"here:{number}")


def interrupted(documents: Iterable[tuple[str, Document]], after: int) -> Iterator[tuple[str, Document]]:
    yield from itertools.islice(documents, after)
    raise KeyboardInterrupt


def by_hand(documents: Iterable[tuple[str, Document]], tokenizer: FastTokenizer, split: str) -> list[int]:
    ids: list[int] = []
    for name, document in documents:
        if name == split:
            ids += tokenizer.encode(document.text) + (
                [tokenizer.end_of_text] if document.is_last_piece else []
            )
    return ids


def whole(shards: TokenShards, split: str) -> list[int]:
    row = shards.split(split)
    return row.read(0, len(row)).tolist() if len(row) else []


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("group", [1, GROUP, 10**9])
def test_the_shards_are_the_ids_encoded_by_hand(
    tmp_path: Path, tokenizer: FastTokenizer, texts: list[str], group: int
):
    shards = prepare(stream(texts), tokenizer, tmp_path / "p", plan="p", group_characters=group)
    for split in SPLITS:
        expected = by_hand(stream(texts), tokenizer, split)
        assert len(expected) > 50
        assert whole(shards, split) == expected
        assert shards.split(split).documents == expected.count(tokenizer.end_of_text)
    decoded = tokenizer.decode(whole(shards, "test")[:-1])
    assert decoded == "".join(document.text for name, document in stream(texts) if name == "test")


def test_many_groups_in_several_files_read_as_one_row(
    tmp_path: Path, tokenizer: FastTokenizer, texts: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prepare_module, "GROUPS_PER_SHARD", 3)
    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(stream(texts), 40), tokenizer, tmp_path / "p", plan="p", group_characters=GROUP)
    shards = prepare(stream(texts), tokenizer, tmp_path / "p", plan="p", group_characters=GROUP)
    assert len(shards.split("train").shards) > 3
    assert all(whole(shards, split) == by_hand(stream(texts), tokenizer, split) for split in SPLITS)


@settings(max_examples=30, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.sampled_from(SPLITS), st.text(max_size=12), st.booleans()), max_size=12),
    group=st.integers(1, 30),
)
def test_any_stream_of_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: FastTokenizer,
    pieces: list[tuple[str, str, bool]],
    group: int,
):
    """A piece that is not the last of its document is not closed; an empty last piece still is."""
    documents = [(split, Document(text, "here", 0.0, 1.0 if last else 0.5)) for split, text, last in pieces]
    folder = tmp_path_factory.mktemp("any")
    shards = prepare(documents, tokenizer, folder, plan="p", group_characters=group)
    for split in SPLITS:
        assert whole(shards, split) == by_hand(documents, tokenizer, split)
        assert shards.split(split).text_bytes == sum(len(t.encode()) for s, t, _ in pieces if s == split)


def test_a_split_with_a_part_of_a_document_counts_it_apart_from_those_that_end_in_it(
    tmp_path: Path, tokenizer: FastTokenizer
) -> None:
    """A text of one document said "0 documents, 216,273 bytes" of what was learned from."""
    one = [Document(f"part {n}. ", "one", n / 4, (n + 1) / 4) for n in range(4)]
    two = [Document("cut ", "two", 0.0, 0.9), Document("here", "two", 0.9, 1.0)]
    documents = [
        ("train", Document("whole", "zero")),
        *(("train" if n < 3 else "validation", piece) for n, piece in enumerate(one)),
        ("train", two[0]),
        ("validation", two[1]),
        ("validation", Document("whole too", "three")),
    ]
    for plan, group in (("p", 4), ("q", 1000)):
        splits = prepare(documents, tokenizer, tmp_path, plan=plan, group_characters=group).manifest["splits"]
        assert {name: (facts["documents"], facts["parts"]) for name, facts in splits.items()} == {
            "train": (1, 3), "validation": (3, 3), "test": (0, 0),
        }  # fmt: skip


def test_parts_are_counted_whole_after_an_interruption(tmp_path: Path, tokenizer: FastTokenizer) -> None:
    pieces = [("train", Document("part. ", "one", n / 9, (n + 1) / 9)) for n in range(9)]
    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(pieces, 7), tokenizer, tmp_path, plan="p", group_characters=4)
    facts = prepare(pieces, tokenizer, tmp_path, plan="p", group_characters=4).manifest["splits"]["train"]
    assert (facts["documents"], facts["parts"]) == (1, 1)


# Interrupted


@pytest.mark.parametrize("after", [0, 1, 17, 40, 59])
def test_interrupted_equals_uninterrupted(
    tmp_path: Path, counting: Counting, tokenizer: FastTokenizer, texts: list[str], after: int
):
    prepare(stream(texts), tokenizer, tmp_path / "once", plan="p", group_characters=GROUP)
    folder = tmp_path / "twice"
    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(stream(texts), after), counting, folder, plan="p", group_characters=GROUP)
    lines = (folder / JOURNAL).read_text().splitlines()[1:]
    noted = sum(part["documents"] for line in lines for part in json.loads(line).values())
    assert noted > after - 15  # all but the groups in progress
    counting.encoded = []
    prepare(stream(texts), counting, folder, plan="p", group_characters=GROUP)
    assert counting.encoded
    assert len(counting.encoded) == 60 - noted  # nothing that was finished is encoded again
    assert contents(folder) == contents(tmp_path / "once")


SLOW_PREPARE = """
    import sys, time
    from pathlib import Path
    from glassgpt.corpus.documents import Document
    from glassgpt.dataset.prepare import prepare
    from glassgpt.tokenizers.fast import FastTokenizer

    def documents():
        for number, text in enumerate(Path(sys.argv[2]).read_text().split("|")):
            time.sleep(0.002)
            yield "train" if number % 5 else "validation", Document(text, "here")

    prepare(documents(), FastTokenizer.from_file(Path(sys.argv[1])), Path(sys.argv[3]), plan="p",
            group_characters=400)
"""


def test_killed_equals_uninterrupted(tmp_path: Path, counting: Counting, texts: list[str]):
    """A second process is killed with -9 at a random point, again and again, and continued each time."""
    counting.save(tmp_path / "tokenizer.json")
    stories = [f"{number}: {texts[number % 3]}" for number in range(400)]
    (tmp_path / "stories").write_text("|".join(stories))

    def documents() -> Iterator[tuple[str, Document]]:
        for number, text in enumerate(stories):
            yield "train" if number % 5 else "validation", Document(text, "here")

    once = prepare(documents(), counting, tmp_path / "once", plan="p", group_characters=GROUP)
    folder = tmp_path / "killed"
    noted = 0
    for _ in range(2):
        names = ("tokenizer.json", "stories", "killed")
        command = [
            sys.executable,
            "-c",
            textwrap.dedent(SLOW_PREPARE),
            *(str(tmp_path / name) for name in names),
        ]
        with subprocess.Popen(command) as process:
            while process.poll() is None and len(lines_of(folder / JOURNAL)) < noted + 8:
                time.sleep(0.001)
            process.kill()
        noted = len(lines_of(folder / JOURNAL)) - 1
        assert noted >= 7
    counting.encoded = []
    again = prepare(documents(), counting, folder, plan="p", group_characters=GROUP)
    assert len(counting.encoded) < 400 - 5 * noted  # a group has at least five documents
    assert contents(folder) == contents(tmp_path / "once")
    assert whole(again, "train") == whole(once, "train")


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def half_done(tmp_path: Path, tokenizer: FastTokenizer, texts: list[str]) -> Path:
    folder = tmp_path / "half-done"
    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted(stream(texts), 45), tokenizer, folder, plan="p", group_characters=GROUP)
    assert len(lines_of(folder / JOURNAL)) > 4
    return folder


def check_finished(folder: Path, counting: Counting, texts: list[str], *, again: bool) -> None:
    """Finish preparing; check the result, and whether everything was encoded again."""
    shards = prepare(stream(texts), counting, folder, plan="p", group_characters=GROUP)
    assert all(whole(shards, split) == by_hand(stream(texts), counting, split) for split in SPLITS)
    assert (len(counting.encoded) == 60) == again


@pytest.mark.parametrize(
    "torn", [b'{"train": {"file": "tr', b'{"train": {"file": "tr\n', b"\0\0\0\n{}\n", b"\xff"]
)
def test_a_torn_line_of_the_journal_is_passed_over(
    half_done: Path, counting: Counting, texts: list[str], torn: bytes
):
    with open(half_done / JOURNAL, "ab") as file:
        file.write(torn)
    check_finished(half_done, counting, texts, again=False)


def test_ids_that_were_written_but_not_recorded_are_written_once(
    half_done: Path, counting: Counting, texts: list[str]
):
    """The kill came between the ids and their line in the journal, or in the middle of the ids."""
    for split in SPLITS:
        with open(half_done / f"{split}-00000.bin", "ab") as file:
            file.write(b"\1\2\3")
    (half_done / "train-00001.bin").write_bytes(b"\1\2")
    check_finished(half_done, counting, texts, again=False)
    assert not (half_done / "train-00001.bin").exists()


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_missing_recorded_ids_are_made_again(
    half_done: Path, counting: Counting, texts: list[str], harm: str
):
    path = half_done / "train-00000.bin"
    path.unlink() if harm == "gone" else os.truncate(path, 10)
    check_finished(half_done, counting, texts, again=True)


def test_work_of_another_plan_is_discarded(half_done: Path, counting: Counting, texts: list[str]):
    shards = prepare(stream(texts, 30), counting, half_done, plan="other", group_characters=GROUP)
    assert len(counting.encoded) == 30
    assert whole(shards, "train") == by_hand(stream(texts, 30), counting, "train")
    assert shards.manifest["plan"] == "other"


def test_work_cut_into_other_groups_is_not_mixed_in(half_done: Path, counting: Counting, texts: list[str]):
    shards = prepare(stream(texts), counting, half_done, plan="p", group_characters=GROUP // 2)
    assert whole(shards, "train") == by_hand(stream(texts), counting, "train")


def test_work_of_another_tokenizer_is_not_mixed_in(half_done: Path, texts: list[str]):
    other = train_tokenizer(iter(texts), TokenizerConfig(vocab_size=270))
    shards = prepare(stream(texts), other, half_done, plan="p", group_characters=GROUP)
    assert whole(shards, "train") == by_hand(stream(texts), other, "train")
    assert shards.fingerprint == other.fingerprint


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path, tokenizer: FastTokenizer, texts: list[str]):
    """Everything in the folder used to be deleted when the plan was another."""
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "photos").mkdir()
    prepare(stream(texts), tokenizer, tmp_path, plan="p")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_finished_work_is_opened_without_reading_anything(
    tmp_path: Path, counting: Counting, texts: list[str]
):
    first = prepare(stream(texts), counting, tmp_path, plan="p")
    counting.encoded = []
    again = prepare(interrupted(stream(texts), 0), counting, tmp_path, plan="p")
    assert counting.encoded == []
    assert again.manifest == first.manifest
    assert not (tmp_path / JOURNAL).exists()


def test_two_at_once_do_the_work_once(tmp_path: Path, counting: Counting, texts: list[str]):
    """Two runs on the same new text, started together, wrote into one journal."""
    results: list[TokenShards] = []

    def work() -> None:
        results.append(prepare(stream(texts), counting, tmp_path, plan="p", group_characters=GROUP))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counting.encoded) == 60
    assert [whole(shards, "train") for shards in results] == 3 * [by_hand(stream(texts), counting, "train")]


def test_a_full_disk_is_explained_and_work_continues_afterwards(
    tmp_path: Path, counting: Counting, texts: list[str]
):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root on Linux only")
    try:
        with pytest.raises(DiskFullError):
            prepare(stream(texts, 3000), counting, disk, plan="p", group_characters=GROUP)
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        done, counting.encoded = len(counting.encoded), []
        shards = prepare(stream(texts, 3000), counting, disk, plan="p", group_characters=GROUP)
        assert done + len(counting.encoded) < 3000 + 20
        assert whole(shards, "train") == by_hand(stream(texts, 3000), counting, "train")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_an_error_while_encoding_is_the_one_that_is_raised(
    tmp_path: Path, texts: list[str], counting: Counting
):
    class Failing(Counting):
        def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
            if len(getattr(self, "encoded", [])) > 20:
                raise ZeroDivisionError("in the worker")
            return super().encode_batch(texts)

    failing = Failing.from_json(counting.json)
    with pytest.raises(ZeroDivisionError, match="in the worker"):
        prepare(stream(texts), failing, tmp_path, plan="p", group_characters=GROUP)
    check_finished(tmp_path, counting, texts, again=False)


def test_another_way_to_encode_gives_the_same_shards(tmp_path: Path, counting: Counting, texts: list[str]):
    shards = prepare(stream(texts), counting, tmp_path, plan="p", encode=counting.encode_arrays)
    assert not hasattr(counting, "encoded")
    assert all(whole(shards, split) == by_hand(stream(texts), counting, split) for split in SPLITS)


# Facts, types, memory


def test_facts_are_kept_and_callables_are_called_at_the_end(
    tmp_path: Path, tokenizer: FastTokenizer, texts: list[str]
):
    seen: list[str] = []

    def watched() -> Iterator[tuple[str, Document]]:
        for split, document in stream(texts):
            seen.append(split)
            yield split, document

    facts = {"sources": ["a", "b"], "seen": lambda: len(seen)}
    manifest = prepare(watched(), tokenizer, tmp_path, plan="p", facts=facts).manifest
    assert (manifest["sources"], manifest["seen"]) == (["a", "b"], 60)
    assert files.broken_seal(tmp_path) is None


def test_an_empty_stream_gives_empty_splits(tmp_path: Path, tokenizer: FastTokenizer):
    shards = prepare([], tokenizer, tmp_path, plan="p")
    assert [len(shards.split(split)) for split in SPLITS] == [0, 0, 0]


@pytest.mark.parametrize(("characters", "dtype"), [(300, "<u2"), (70_000, "<u4")])
def test_ids_above_65535_take_four_bytes(tmp_path: Path, characters: int, dtype: str):
    text = "".join(chr(code) for code in range(0x10000, 0x10000 + characters))
    tokenizer = train_tokenizer(iter([text]), TokenizerConfig(kind="char", vocab_size=0, min_frequency=1))
    shards = prepare([("train", Document(text, "here"))], tokenizer, tmp_path, plan="p")
    assert shards.manifest["dtype"] == dtype
    ids = whole(shards, "train")
    assert ids == [*tokenizer.encode(text), tokenizer.end_of_text]
    assert (max(ids) > 65_535) == (dtype == "<u4")
    assert (tmp_path / "train-00000.bin").stat().st_size == (characters + 1) * np.dtype(dtype).itemsize


class Bytes:
    """The simplest vocabulary: fast enough to encode megabytes while memory is traced."""

    vocab_size, end_of_text, fingerprint = 257, 256, "bytes"

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    def save(self, path: Path) -> None:
        path.write_text("{}")


@pytest.mark.parametrize(
    ("text", "documents", "group", "bound"),
    [
        ("A story of forty characters and a bit. " * 25, 4_000, 100_000, 8_000_000),  # 4 MB against 16 MB
        # A group of nothing but empty documents must end, too.
        pytest.param("", 10_000, 2_000, 2_000_000, marks=pytest.mark.slow),
    ],
)
def test_memory_does_not_grow_with_the_corpus(
    tmp_path: Path, text: str, documents: int, group: int, bound: int
):
    def peak(count: int, attempt: int) -> int:
        gc.collect()
        tracemalloc.start()
        generated = (("train", Document(text, "here")) for _ in range(count))
        prepare(generated, Bytes(), tmp_path / f"{count}-{attempt}", plan="p", group_characters=group)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    # The memory that two threads hold at one moment differs by chance; the least of several measurements does not.
    small, large = (min(peak(count, attempt) for attempt in range(6)) for count in (documents, 4 * documents))
    assert large < 1.2 * small
    assert large < bound
