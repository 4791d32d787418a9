"""Lines with a slash in `glassgpt chat`, and what streams to a terminal: with base models and with runs that answer."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from glassgpt.cli.terminal import printable
from tests.cli.conftest import Command, Result
from tests.cli.test_flow import Screen

Talk = Callable[..., Result]


@pytest.fixture
def talk(glassgpt: Command, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Type some lines into `glassgpt chat`, without a terminal."""

    def call(run: str, *lines: str, options: tuple[str, ...] = ()) -> Result:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return glassgpt("chat", run, "--max-tokens=6", *options)

    return call


@pytest.fixture(scope="module")
def taught_once(trained_longer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `answers`, which was taught to answer."""
    from glassgpt.cli.main import main

    folder = tmp_path_factory.mktemp("taught")
    shutil.copytree(trained_longer / "runs", folder / "runs")
    rows = [{"instruction": f"Say {n}.", "output": f"The cat says {n}."} for n in range(12)]
    (folder / "records.json").write_text(json.dumps(rows))
    few = ("--training.steps=2", "--training.threads=1", "--training.precision=float32")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSGPT_RUNS", "runs")
        with pytest.raises(SystemExit):
            main(["finetune", "sft", "small", "records.json", "--name=answers", *few])
    return folder


@pytest.fixture
def taught(taught_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(taught_once / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSGPT_RUNS", "runs")
    return tmp_path


def test_an_unknown_command_is_answered_with_the_list_and_never_goes_to_the_model(
    talk: Talk, workplace: Path
) -> None:
    done = talk("small", "/retyr", " /etc/hosts", "/save t.txt")
    assert done.status == 0
    assert "There is no /retyr here. Did you mean /retry?" in done.output
    assert "There is no /etc/hosts here." in done.output
    assert done.output.count("/system [TEXT]") == 2
    assert "Nothing was said yet that could be saved." in done.output
    assert "run>" not in done.output
    listed = [
        line.removeprefix("you> ") for line in talk("small", "/help").output.splitlines() if "  /" in line
    ]
    assert listed
    assert max(map(len, listed)) <= 60


def test_two_slashes_send_one(talk: Talk, workplace: Path) -> None:
    done = talk("small", "//The cat", "/save t.txt", options=("--seed=1",))
    assert "run> /The cat" in done.output
    assert Path("t.txt").read_text().startswith("/The cat")


@pytest.mark.parametrize("run", ["small", "answers"])
def test_a_seed_repeats_a_conversation_and_a_retry_is_another_try(talk: Talk, taught: Path, run: str) -> None:
    lines = ("The cat", "/save first.txt", "/retry", "/save second.txt", "/exit", "never read")
    once = talk(run, *lines, options=("--seed=1", "--temperature=2"))
    first, second = Path("first.txt").read_text(), Path("second.txt").read_text()
    assert first != second
    assert second.count("The cat") == 1, "the first try is gone"
    for name in ("first.txt", "second.txt"):
        Path(name).unlink()
    assert talk(run, *lines, options=("--seed=1", "--temperature=2")).output == once.output
    assert Path("second.txt").read_text() == second
    assert "never read" not in once.output


@pytest.mark.parametrize("run", ["small", "answers"])
def test_what_cannot_be_tried_again_says_so(talk: Talk, taught: Path, run: str) -> None:
    assert "try again" in talk(run, "/retry").output or "tried again" in talk(run, "/retry").output
    assert "every try is the same" in talk(run, "The", "/retry", options=("--temperature=0",)).output


def test_top_k_of_one_is_the_likeliest(talk: Talk, workplace: Path) -> None:
    chosen = talk("small", "The", options=("--top-k=1",)).output
    assert chosen == talk("small", "The", options=("--temperature=0",)).output


def test_the_system_prompt_can_be_seen_and_changed(talk: Talk, taught: Path) -> None:
    lines = ("/system", "/system Be kind.", "Say 1.", "/save t.json", "/system -")
    done = talk("answers", *lines, options=("--system", "Be cross."))
    assert "The system prompt is: Be cross." in done.output
    assert "The system prompt is: Be kind." in done.output
    assert "There is no system prompt." in done.output
    (record,) = json.loads(Path("t.json").read_text())
    roles = [(message["role"], message["content"]) for message in record["messages"]]
    assert roles[:2] == [("system", "Be kind."), ("user", "Say 1.")]
    assert roles[2][0] == "assistant"
    assert "is a base model and has no system prompt" in talk("small", "/system Be kind.").output


def test_what_is_saved_overwrites_only_what_this_conversation_wrote(talk: Talk, workplace: Path) -> None:
    Path("theirs.txt").write_text("precious")
    Path("link.txt").symlink_to("theirs.txt")
    done = talk("small", "The", "/save theirs.txt", "/save link.txt", "/save .", "/save no/such/folder/t.txt",
                "/save mine.txt", "cat", "/save mine.txt", "/save")  # fmt: skip
    assert done.status == 0
    assert Path("theirs.txt").read_text() == "precious"
    said = " ".join(done.output.split())  # lines are folded where a path is long
    assert said.count("exists already, and this conversation did not write it") == 3
    assert said.count("Saved in mine.txt") == 2
    assert "Name the file: /save FILE" in said
    assert "cat" in Path("mine.txt").read_text()
    assert "exists already" in talk("small", "The", "/save mine.txt").output


class Terminal:
    """A real terminal of a given width, in which a command runs."""

    def __init__(self, width: int, *words: str) -> None:
        self.leader, follower = os.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "glassgpt", *words], stdin=follower, stdout=follower, stderr=follower,
            env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        self.printed = b""
        self.seen = 0

    def read_until(self, text: bytes) -> None:
        """Read until `text` comes, after what an earlier call has found."""
        while text not in self.printed[self.seen :]:
            self.printed += os.read(self.leader, 4096)
        self.seen = self.printed.index(text, self.seen) + len(text)

    def end(self) -> str:
        with contextlib.suppress(OSError):  # on Linux, reading what the other side has closed
            while more := os.read(self.leader, 4096):
                self.printed += more
        os.close(self.leader)
        assert self.process.wait(60) == 0
        return self.printed.decode().replace("\r\n", "\n")


def test_a_terminal_shows_whole_words_and_a_pipe_the_same_text_unchanged(
    glassgpt: Command, workplace: Path
) -> None:
    words = ("generate", "small", "The cat sat on the mat and the dog", "--seed=2", "--max-tokens=60")
    plain = glassgpt(*words).output
    screen = Screen(30)
    screen.feed(Terminal(30, *words).end())
    assert "".join("".join(screen.rows()).split()) == "".join(printable(plain).split())
    assert screen.rows()[0] == "The cat sat on the mat and"
    assert screen.rows()[1].startswith("the dog")


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(workplace: Path) -> None:
    terminal = Terminal(60, "chat", "small", "--max-tokens=1000000")
    terminal.read_until(b"you>")
    os.write(terminal.leader, b"The cat\n")
    terminal.read_until(b"run> The cat")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until(b"(stopped)")
    terminal.read_until(b"you>")
    os.write(terminal.leader, b"/save t.txt\n")
    terminal.read_until(b"Saved in t.txt")
    terminal.read_until(b"you>")  # a Ctrl-D that comes before the prompt is lost
    os.write(terminal.leader, b"\x04")
    terminal.end()
    assert Path("t.txt").read_text().startswith("The cat")
