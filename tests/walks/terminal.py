"""A person at a terminal: a real shell in a pseudo-terminal of some width, typed into and read.

Nothing is passed by a side door: what a walk knows of a run it read on the screen, and a command that the program
printed is pasted exactly as it was printed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pyte
from wcwidth import wcswidth

import glassgpt

PROMPT = "walker> "
COMMAND = re.compile(r"(?:glassgpt|pip) [^\n]*")
LONGEST = 120
"""Seconds after which a command is taken to hang."""


class Terminal:
    """A shell in a folder, seen through a window of some columns."""

    def __init__(self, folder: Path, columns: int) -> None:
        self.folder, self.columns = folder, columns
        self.screen = ""
        """What the last command printed, without escape sequences, each line as it stood in the end."""
        self._start()

    def _start(self) -> None:
        folder = self.folder
        source = Path(glassgpt.__path__[0]).parent
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder.parent),
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "PYTHONPATH": str(source),
            "GLASSGPT_CACHE": str(folder.parent / "cache"),
            "OMP_NUM_THREADS": "1",
            "PS1": PROMPT,
        }
        shell = shutil.which("bash") or "/bin/sh"
        self._shell = pexpect.spawn(
            shell, ["--norc", "--noprofile", "--noediting"], cwd=str(folder), env=environment, timeout=LONGEST,
            dimensions=(40, self.columns), encoding="utf-8", echo=False,
        )  # fmt: skip
        self._shell.sendline(f"PS1='{PROMPT}'; PS2=''; stty -echo")
        self._shell.expect_exact(PROMPT)
        self._shell.expect([re.escape(PROMPT), pexpect.TIMEOUT], timeout=0.3)

    def types(
        self, line: str, *, ends: int | None = 0, until: str | None = None, any_width: bool = False
    ) -> str:
        """Type a line and return what the screen shows when the prompt is back, or when `until` has appeared.

        `ends` is the exit status that the command must have; None accepts each. `any_width` is for commands that are
        not ours.
        """
        self._shell.sendline(line)
        if until is not None:
            self._shell.expect(until)
            self.screen = seen((self._shell.before or "") + (self._shell.after or ""))
            return self.screen
        return self.waits(line, ends=ends, any_width=any_width)

    def waits(self, line: str = "", *, ends: int | None = 0, any_width: bool = False) -> str:
        """Wait until the prompt is back; return what the screen shows."""
        self._shell.expect_exact(PROMPT)
        self.screen = seen(self._shell.before or "")
        self._shell.sendline("echo status=$?")
        self._shell.expect(r"status=(\d+)")
        status = int(self._shell.match.group(1))
        self._shell.expect_exact(PROMPT)
        if ends is not None:
            assert status == ends, f"{line!r} ended with status {status}:\n{self.screen}"
        if not any_width:
            self._refuse_ugly(line)
        return self.screen

    def presses(self, key: str) -> None:
        """Press a key together with Ctrl, such as "c" or "d"."""
        self._shell.sendcontrol(key)

    def printed(self, beginning: str) -> str:
        """Return the last command on the screen that begins so, exactly as it was printed."""
        found = [command for command in commands(self.screen) if command.startswith(beginning)]
        assert found, f"no command {beginning!r} was printed:\n{self.screen}"
        return found[-1]

    def pastes(
        self, beginning: str, *, fills: Mapping[str, str] | None = None, adds: str = "", ends: int | None = 0
    ) -> str:
        """Paste the last command on the screen that begins so, exactly as it was printed.

        `fills` replaces words that stand for something, such as RUN, and the minutes of an example; `adds` is typed
        after it.
        """
        line = self.printed(beginning)
        for old, new in (fills or {}).items():
            assert re.search(rf"(?<!\S){old}(?!\S)", line), f"{old!r} is not in {line!r}"
            line = re.sub(rf"(?<!\S){old}(?!\S)", new, line)
        return self.types(line + adds, ends=ends)

    def sees(self, *words: str) -> None:
        """Check that words are on the screen, however lines are folded."""
        flat = " ".join(self.screen.split())
        for word in words:
            assert word in flat, f"{word!r} is not on the screen:\n{self.screen}"

    def _refuse_ugly(self, line: str) -> None:
        """Check each screen: no traceback; over the edge only a command, a path or a single word."""
        assert "Traceback" not in self.screen, f"{line}\n{self.screen}"
        for row in self.screen.splitlines():
            over = wcswidth(row) > self.columns
            assert not over or "glassgpt" in row or "/" in row, (
                f"{line}\nover the edge: {row!r}\n{self.screen}"
            )

    def closes(self) -> None:
        """Close the window."""
        self._shell.close(force=True)


def seen(raw: str) -> str:
    """Return what raw output leaves on a screen so wide that it folds no line, which is what a selection copies."""
    screen = pyte.Screen(columns=4_000, lines=raw.count("\n") + 2)
    pyte.Stream(screen).feed(raw)
    rows = [screen.buffer[number] for number in range(screen.lines)]
    lines = ["".join(row[place].data for place in range(max(row, default=-1) + 1)).rstrip() for row in rows]
    return "\n".join(lines).strip("\n")


def commands(screen: str) -> list[str]:
    """Return the commands on a screen: to the end of the line, or of the quotation or sentence that they stand in."""
    found = []
    for quoted in re.findall(r"`(glassgpt [^`\n]+)`", screen):
        found.append((screen.index(quoted), quoted))
    for match in COMMAND.finditer(screen):
        if screen[match.start() - 1 : match.start()] != "`":
            line = re.split(r"  +#|   +", match.group())[0].rstrip()
            found.append((match.start(), line))
    return [line for _, line in sorted(found)]
