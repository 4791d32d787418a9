"""An output never replaces what was read, and another file only on request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glassgpt.errors import OutputError
from glassgpt.outputs import refuse_overwriting


@pytest.fixture
def book(tmp_path: Path) -> Path:
    (tmp_path / "book.txt").write_text("A book.")
    return tmp_path / "book.txt"


def test_what_is_not_there_may_be_written(tmp_path: Path) -> None:
    refuse_overwriting(tmp_path / "new", option="--output")
    refuse_overwriting(tmp_path / "below" / "new", option="--output")


def test_what_is_there_needs_force(book: Path) -> None:
    with pytest.raises(OutputError, match=r"exists already.*--force"):
        refuse_overwriting(book, option="--output")
    refuse_overwriting(book, option="--output", force=True)


def test_what_the_same_command_made_needs_none(book: Path) -> None:
    refuse_overwriting(book, option="--output", replaceable=lambda path: path == book)


@pytest.mark.parametrize("way", ["itself", "symlink", "hard link", "detour", "folder", "folder by a link"])
def test_what_is_read_is_never_written_over(book: Path, way: str) -> None:
    """`tokenizer train book.txt --output book.txt` once replaced the book by a tokenizer."""
    other = book.with_name("other")
    match way:
        case "symlink":
            other.symlink_to(book)
        case "hard link":
            os.link(book, other)
        case "detour":
            (book.parent / "below").mkdir()
            other = book.parent / "below" / ".." / "book.txt"
        case "folder by a link":
            (book.parent / "link").symlink_to(book.parent)
            other = book.parent / "link" / "book.txt"
        case _:
            other = book
    read = book.parent if "folder" in way else book
    with pytest.raises(OutputError, match="reads"):
        refuse_overwriting(other, option="--output", inputs=lambda: [read], force=True)
    with pytest.raises(OutputError, match="reads"):
        refuse_overwriting(book, option="--output", inputs=lambda: [other.parent / "none", other], force=True)


def test_a_device_or_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    """A file that is renamed into its place would replace /dev/null itself."""
    for path, part in ((Path(os.devnull), "not an ordinary file"), (tmp_path, "is a folder")):
        with pytest.raises(OutputError, match=part):
            refuse_overwriting(path, option="--output", force=True)
