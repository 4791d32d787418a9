"""Which runs are meant, what differs between them, and which is the best."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest

from glassgpt import config as configs
from glassgpt.errors import RunError
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.listing import as_csv, best_of, differing, facts, matching, short_names
from glassgpt.runs.summary import RunSummary, flat, size_of


def summary(
    name: str,
    bits: float | None = None,
    *,
    kind: str = "pretraining",
    text: tuple[str, ...] = ("a",),
    **settings: object,
) -> RunSummary:
    return RunSummary(name, 10, 5, 5, bits, bits, 100, 1.0, "finished", kind=kind, text=text,
                      settings={key.replace("__", "."): value for key, value in settings.items()})  # fmt: skip


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.toml").write_text(configs.to_toml(RunConfig()))


def test_patterns_paths_and_names(runs_here: Path) -> None:
    make(runs_here, "tale-1", "tale-2", "note")
    make(runs_here.parent / "far", "away")
    assert sorted(run.name for run in matching([])) == ["note", "tale-1", "tale-2"]
    assert sorted(run.name for run in matching(["tale-*", "tale-1"])) == ["tale-1", "tale-2"]
    assert [run.name for run in matching([str(runs_here.parent / "far" / "away")])] == ["away"]
    assert [run.name for run in matching(["?ot[e]"])] == ["note"]
    for wrong in ("tail-*", "tail-1"):
        with pytest.raises(RunError, match=r"tale-[12]"):
            matching([wrong])


def test_a_name_with_signs_of_a_pattern_is_a_name(runs_here: Path) -> None:
    make(runs_here, "a[1]", "a1")
    assert [run.name for run in matching(["a[1]"])] == ["a[1]"]


def test_what_differs_comes_with_the_usual_settings_first() -> None:
    runs = [
        summary(
            "a", model__bias=True, training__seed=1, training__learning_rate=0.1, training__steps=5, same=1
        ),
        summary(
            "b", model__bias=False, training__seed=2, training__learning_rate=0.2, training__steps=6, same=1.0
        ),
    ]
    assert differing(runs) == ["training.learning_rate", "training.seed", "model.bias"]
    assert differing(runs[:1]) == []
    assert (
        differing([runs[0], RunSummary("damaged", None, 0, None, None, None, 0, 0, "damaged: config.toml")])
        == []
    )
    assert list(short_names(["a.x", "b.x", "b.y"]).values()) == ["a.x", "b.x", "y"]


def test_the_best_is_the_best_on_its_text() -> None:
    assert best_of([summary("a", 2.0), summary("b", 1.0), summary("c", None)]) == {"b"}
    assert best_of([summary("a", 2.0), summary("b", 1.0, text=("b",))]) == set()
    assert best_of([summary("a", 2.0), summary("b", 1.0, kind="sft"), summary("c", 3.0)]) == {"a"}


def test_csv_reads_back(tmp_path: Path) -> None:
    runs = [summary('a, "b"\nc', 2.0, data=["x", "y"]), summary("d", None)]
    rows = [facts(run, ["data"], {"d"}) for run in runs]
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [row["name"] for row in read] == ['a, "b"\nc', "d"]
    assert [row["best"] for row in read] == ["False", "True"]
    assert [row["bits_per_byte"] for row in read] == ["2.0", ""]
    assert [row["data"] for row in read] == ["x y", ""]


def test_sizes_are_those_of_all_files(run: RunDirectory) -> None:
    assert size_of(run.path) == sum(path.lstat().st_size for path in run.path.rglob("*") if path.is_file())
    assert size_of(run.path / "nowhere") == 0
    shutil.rmtree(run.checkpoints)
    run.checkpoints.symlink_to(run.path)  # a loop
    assert 0 < size_of(run.path) < 10**9


def test_settings_are_flat() -> None:
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}
