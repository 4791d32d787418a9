"""Real processes with standard streams that are closed, full, limited or abandoned, interrupted at any moment."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.markdown import Markdown
from rich.padding import Padding
from rich.panel import Panel

from glassgpt.cli.pages import help_
from glassgpt.cli.terminal import make_console, prose_width

SMALL = (
    "--training.steps=4 --training.evaluate-every=2 --training.batch-size=2 --training.threads=1 "
    "--training.precision=float32 --model.context-length=16 --model.n-layer=1 --model.n-head=2 --model.n-embd=16 "
    "--tokenizer.kind=char --samples.max-tokens=8"
)
GLASSGPT = f"{shlex.quote(sys.executable)} -m glassgpt"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which `glassgpt` is this program; its status is that of glassgpt in a pipe, too."""
    script = f'glassgpt() {{ {GLASSGPT} "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def quiet(done: subprocess.CompletedProcess[bytes], status: int = 0) -> None:
    assert done.returncode == status, done
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"Exception ignored" not in done.stderr, done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_training_does_not_end_for_a_character_that_the_console_lacks(workplace: Path, encoding: str) -> None:
    """Training once died at step 0, when its first sample contained a letter outside the console's encoding."""
    Path("wide.txt").write_text("Ωμέγα → 猫. " * 200, encoding="utf-8")
    quiet(shell(f"glassgpt train wide.txt {SMALL} --name wide", PYTHONIOENCODING=encoding))
    assert Path("runs/wide/model.safetensors").is_file()


@pytest.mark.slow
def test_training_does_not_end_when_nobody_reads_on(workplace: Path) -> None:
    quiet(shell(f"glassgpt train text.txt {SMALL} --name piped | head -1"))
    quiet(shell(f"glassgpt train text.txt {SMALL} --name full > /dev/full"))
    quiet(shell(f"glassgpt train text.txt {SMALL} --name closed >&- 2>&- <&-"))
    for name in ("piped", "full", "closed"):
        assert Path(f"runs/{name}/report.html").is_file(), name


@pytest.mark.slow
def test_what_only_shows_ends_when_nobody_reads_on(workplace: Path) -> None:
    quiet(shell("glassgpt generate small The | head -c 1"))
    quiet(shell("glassgpt generate small The >&-"))
    quiet(shell("glassgpt --help | head -1"))
    quiet(shell("glassgpt chat small <&-"))
    quiet(shell("glassgpt runs 2>&-"))


@pytest.mark.parametrize(
    "command", ["generate small The", "runs", "train --help", "tokenizer decode runs/small 65"]
)
def test_a_full_disk_behind_the_output_is_a_sentence(workplace: Path, command: str) -> None:
    done = shell(f"glassgpt {command} > /dev/full")
    quiet(done, status=1)
    assert b"could not be written" in done.stderr


def test_an_error_that_cannot_be_shown_keeps_its_status(workplace: Path) -> None:
    quiet(shell("glassgpt generate nosuch 2>/dev/full"), status=1)
    quiet(shell("glassgpt generate nosuch 2>&-"), status=1)


@pytest.mark.parametrize("command", ["tokenizer encode runs/small -", "chat small"])
def test_input_that_is_no_utf8_is_a_sentence(workplace: Path, command: str) -> None:
    done = shell(f"printf 'caf\\xe9\\n' | glassgpt {command}; exit ${{PIPESTATUS[1]}}")
    quiet(done, status=1)
    assert b"not UTF-8" in done.stderr


def test_a_list_is_neither_cut_nor_folded_where_there_is_no_terminal(workplace: Path) -> None:
    long = "a-very-long-name-" * 8
    Path("runs/small").rename(f"runs/{long}")
    printed = shell("glassgpt runs | cat", PYTHONIOENCODING="utf-8").stdout.decode()
    lines = [line for line in printed.splitlines() if "a-very" in line]
    assert len(lines) == 1, printed
    (line,) = lines
    assert line.split()[0] == long
    assert "6/6" in line
    assert "…" not in printed


def test_a_conversation_goes_on_after_bytes_that_are_no_utf8(workplace: Path) -> None:
    """On a terminal. The conversation once ended there and was lost."""
    leader, follower = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "glassgpt", "chat", "small", "--max-tokens=2"],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.write(leader, b"caf\xe9\nThe cat\n/quit\n")
    printed = process.communicate(timeout=60)[0]
    os.close(leader)
    os.close(follower)
    assert process.returncode == 0
    assert b"What was typed is not UTF-8" in printed
    assert printed.index(b"not UTF-8") < printed.index(b"The cat")


def interrupted_after(delay: float, *command: str) -> tuple[int, list[str]]:
    """Send SIGINT after a while; return the status, and the traceback lines that belong to this program."""
    process = subprocess.Popen(
        [sys.executable, "-m", "glassgpt", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1].decode()
    return process.returncode, [line for line in errors.splitlines() if "glassgpt/cli" in line]


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.4, 0.9])
def test_an_interrupt_is_a_quiet_end(workplace: Path, delay: float) -> None:
    """In the first 0.4 s, while libraries were imported, Ctrl-C once gave a traceback.

    The first hundredths of a second, before the first line of `main`, belong to Python alone.
    """
    status, ours = interrupted_after(delay, "generate", "small", "The", "--max-tokens=1000000")
    assert not ours
    assert status in (1, 130, -signal.SIGINT)


def test_an_interrupt_is_not_lost_in_a_library_that_catches_everything_while_it_is_imported(
    tmp_path: Path,
) -> None:
    """The command once continued as if nobody had pressed Ctrl-C."""
    (tmp_path / "catching.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    import an_optional_part\n"
        "except BaseException:\n    pass\n"
    )
    program = (
        "from glassgpt.cli.main import _Interrupt\nwith _Interrupt():\n    import catching\nprint('went on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["--help", "generate small The --max-tokens=1000000", "data inspect text.txt"]
)
def test_an_interrupt_is_a_quiet_end_at_any_moment(workplace: Path, command: str) -> None:
    for hundredths in (*range(20), *range(20, 60, 5), *range(60, 200, 20)):
        status, ours = interrupted_after(hundredths / 100, *command.split())
        assert not ours, hundredths
        assert status in (0, 1, 130, -signal.SIGINT), hundredths


@pytest.mark.parametrize("columns", ["20", "40", "80", "120"])
def test_no_number_is_cut_in_a_narrow_window(workplace: Path, columns: str) -> None:
    """In 80 columns the loss of a run with a long name was once shown as "5…". A column has room, or is named."""
    Path("runs/small").rename("runs/" + "a-very-long-name-" * 5)
    printed = shell("glassgpt runs", COLUMNS=columns, PYTHONIOENCODING="utf-8").stdout.decode()
    whole = shell("glassgpt runs", COLUMNS="300", PYTHONIOENCODING="utf-8").stdout.decode()
    assert "…" not in printed
    titles, figures = (line.split() for line in whole.splitlines()[:2])
    figures[6:8] = [" ".join(figures[6:8])]  # "1 s" and "41.2 kB" are one figure each
    figures[7:9] = [" ".join(figures[7:9])]
    assert len(titles) == len(figures)
    for title, figure in zip(titles[1:], figures[1:], strict=True):
        assert figure in printed or title in printed.partition("Not shown")[2]


@pytest.mark.parametrize("color", [False, True])
def test_a_file_has_no_spaces_at_the_ends_of_its_lines(
    color: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file has no edge. Each line of a story was filled up to 100,000 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if color:
        monkeypatch.setenv("FORCE_COLOR", "1")
    console = make_console()
    console.print(Padding("one\ntwo", (1, 4)), style="italic", width=prose_width(console))
    console.print(Panel(Markdown("# centred")))
    lines = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert lines[:4] == ["", "    one", "    two", ""]
    assert not any(line.endswith(" ") for line in lines)


def test_a_page_in_a_file_is_as_wide_as_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    help_("loops")
    lines = capsys.readouterr().out.splitlines()
    assert 100 < max(map(len, lines)) <= 130
