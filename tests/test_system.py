"""Errors of the operating system become a sentence with the path; other errors stay what they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassgpt import files
from glassgpt.errors import AccessError, DiskFullError, GlassGPTError, MemoryFullError, OfflineError
from glassgpt.system import explained, explaining


@settings(max_examples=200)
@given(st.sampled_from(sorted(errno.errorcode)), st.text(min_size=1, max_size=400))
def test_every_number_of_the_system_is_a_sentence_with_the_path(number: int, name: str) -> None:
    error = OSError(number, os.strerror(number), name)
    if isinstance(error, BrokenPipeError):
        assert explained(error) is None
        return
    known = explained(error)
    assert isinstance(known, GlassGPTError)
    assert str(known).endswith((".", "4096", "resume"))
    assert number == errno.ENOMEM or name[:50] in str(known)
    assert len(str(known)) < 500


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), MemoryFullError),
        (RuntimeError("[enforce fail at alloc.cpp:1] DefaultCPUAllocator: can't allocate memory"), MemoryFullError),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), MemoryFullError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), MemoryFullError),
        (ImportError("x.so: failed to map segment from shared object"), MemoryFullError),
        (RuntimeError("can't start new thread"), MemoryFullError),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MemoryFullError),
        (Exception("Io(Os { code: 28 }) No space left on device (os error 28)"), DiskFullError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFullError),
        (RuntimeError("Could not determine home directory."), AccessError),
        (OSError("a library says no more than this"), AccessError),
    ],
)  # fmt: skip
def test_libraries_say_it_in_their_own_ways(error: Exception, kind: type[GlassGPTError]) -> None:
    assert isinstance(explained(error, Path("there")), kind)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("no"), KeyError("x"), KeyboardInterrupt()]
)
def test_a_bug_of_ours_stays_one(error: BaseException) -> None:
    assert explained(error) is None


def test_a_lost_network_is_called_one() -> None:
    import requests

    assert isinstance(explained(requests.ConnectionError("refused")), OfflineError)


def test_the_variable_that_names_the_place_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSGPT_CACHE", "/nowhere/cache")
    known = explained(PermissionError(errno.EACCES, "no", "/nowhere/cache/downloads"))
    assert "GLASSGPT_CACHE" in str(known)


def test_a_python_caller_gets_an_error_of_ours() -> None:
    @explaining
    def read(path: Path) -> bytes:
        return path.read_bytes()

    with pytest.raises(AccessError, match="is not there"):
        read(Path("/nowhere/at/all"))


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    """The temporary file beside an output once had a longer name than the output, often too long."""
    files.write_text(tmp_path / ("n" * 255), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["n" * 255]
    with pytest.raises(AccessError, match="too long"):
        files.write_text(tmp_path / ("n" * 256), "text")
