"""Files that a run names by absolute paths are found again where the project was moved, and only by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassgpt.errors import RunError
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.places import absolute, endings, find, is_there


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run at `new/runs/tale`, and another folder as the current one."""
    run = tmp_path / "new" / "runs" / "tale"
    run.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return RunDirectory(run)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_longer_endings_come_first_and_places_beside_the_run_before_the_current_folder(
    moved: RunDirectory, tmp_path: Path
) -> None:
    tried = list(endings("/old/texts/a.txt", moved))
    new, here = tmp_path / "new", tmp_path / "elsewhere"
    order = [new / "old/texts/a.txt", here / "old/texts/a.txt", new / "texts/a.txt", here / "a.txt"]
    assert [tried.index(str(path)) for path in order] == sorted(tried.index(str(path)) for path in order)
    assert len(tried) == len(set(tried))


def test_the_file_that_is_accepted_is_taken_not_the_nearest(moved: RunDirectory, tmp_path: Path) -> None:
    written(tmp_path / "new" / "texts" / "a.txt", "another text of that name")
    right = written(tmp_path / "elsewhere" / "a.txt", "the text")
    asked = {"setting": "--corpus.sources"}

    def accept(candidate: str) -> bool:
        return Path(candidate).read_text() == "the text"

    assert find("/old/texts/a.txt", moved, accept, **asked) == str(right)
    right.unlink()
    with pytest.raises(RunError, match=r"new/texts/a\.txt is not the same: it has changed"):
        find("/old/texts/a.txt", moved, accept, **asked)
    (tmp_path / "new" / "texts" / "a.txt").unlink()
    with pytest.raises(RunError, match=r"glassgpt resume .* --corpus\.sources PATH"):
        find("/old/texts/a.txt", moved, accept, **asked)


def test_what_is_where_it_was_is_not_looked_for(moved: RunDirectory, tmp_path: Path) -> None:
    path = written(tmp_path / "texts" / "a.txt", "x")

    def never(_: str) -> bool:
        raise AssertionError("it is where the run says")

    assert find(str(path), moved, never, setting="--x") == str(path)
    assert find("builtin:tinytales", moved, never, setting="--x") == "builtin:tinytales"


def test_a_pattern_is_there_when_it_matches_and_its_folder_may_hold_signs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "odd [1] folder"
    written(folder / "a.txt", "x")
    monkeypatch.chdir(folder)
    (pattern,) = absolute(("*.txt",))
    assert pattern.endswith("/*.txt")
    assert is_there(pattern)
    assert not is_there(pattern.replace("txt", "md"))
    assert absolute(("builtin:tinytales", "hf:a/b", "no-such*")) == (
        "builtin:tinytales",
        "hf:a/b",
        "no-such*",
    )
    assert not is_there("/a\0b")
