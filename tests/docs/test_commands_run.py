"""What the pages say can be typed is typed: each page's commands run in their order, in one empty folder.

The real programs run, and a command that fails fails its page. Two things differ from what a reader does: budgets are
cut by one rule (`shrunk`; sizes stay), and the files and runs that a page tells its reader to have are put there
(`FILES`, `RUNS`). `CANNOT_RUN` names the commands that are left out, each with its reason.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.stand_ins import FILES, SHARED
from tests.docs.test_docs_commands import ENDS_A_COMMAND, EXTENDING, PAGES, ROOT, Block, blocks

SERVES = "serves until it is stopped; tests/serving/test_server.py"
CANNOT_RUN = {
    "README.md: make demo": "installs packages, and trains for two minutes",
    "README.md: make test": "runs all tests, this one among them",
    "README.md: pip install .": "installs packages",
    "CONTRIBUTING.md: make test": "runs all tests, this one among them",
    "docs/loops.md: pip install 'glassgpt[fast]'": "installs packages",
    "README.md: glassgpt doctor": "measures for minutes; tests/doctor runs it",
    "docs/doctor.md: glassgpt doctor": "measures for minutes; tests/doctor runs it",
    "docs/doctor.md: glassgpt doctor --json": "measures for minutes; tests/doctor runs it",
    "docs/benchmarks.md: make bench QUICK=1": "measures for minutes; tests/test_benchmarks.py runs the parts",
    "docs/import.md: glassgpt import Qwen/Qwen3-0.6B": "downloads from the hub",
    "docs/import.md: glassgpt generate Qwen3-0.6B-1 'The capital of France is'": "needs that download",
    "docs/evaluation.md: glassgpt eval my-run --tasks arc_easy,hellaswag --limit 200": "downloads from the hub",
    "docs/evaluation.md: glassgpt eval my-run --tasks lambada_openai,grammar --few-shots 3": "downloads from the hub",
    "README.md: glassgpt serve mine-sft-1": SERVES,
    "docs/serve.md: glassgpt serve my-run": SERVES,
    "docs/serve.md: glassgpt serve my-run my-run-sft-1": SERVES,
    "docs/serve.md: GLASSGPT_API_KEY=a-long-secret glassgpt serve my-run --host 0.0.0.0": SERVES,
    "docs/training.md: glassgpt train my-texts --track tensorboard --track wandb": "goes online",
    "docs/training.md: torchrun --nproc-per-node 2 -m glassgpt train my-texts --training.threads 1": (
        "two processes; tests/training/test_distributed.py"
    ),
    "docs/training.md: torchrun --nproc-per-node 2 -m glassgpt resume": (
        "two processes; tests/training/test_distributed.py"
    ),
}

BUDGETS = {
    "--minutes": "0.1",
    "--training.seconds": "3",
    "--training.steps": "4",
    "--limit": "2",
    "--samples": "2",
    "--stories": "2",
}
"""Options that say how much is done, and what each becomes."""

TYPED = "Once there was a fox.\n/quit\n"
"""What is typed into every command; `chat` reads it."""

COMMAND = re.compile(r"(?:\$ )?((?:[A-Z_]+=\S+ )*(?:glassgpt|make|pip|torchrun|export|python -m)\b.*)")

MADE = (
    "glassgpt train builtin:tinytales:300 --recipe tinytales --training.steps 4 --name tales",
    "glassgpt train letters.txt --training.steps 4 --name letters",
    "glassgpt finetune sft tales instructions.json --training.steps 4 --name tales-sft-1",
)
RUNS = {
    "tinytales-1": "tales",
    "tales": "tales",
    "my-run": "tales",
    "mine": "tales",
    "story-1": "tales",
    "story-2": "tales",
    "mine-sft-1": "tales-sft-1",
    "letters": "letters",
    "long": "letters",
    "tales-sft-1": "tales-sft-1",
}
"""The runs that pages tell of, each a copy of one of `MADE`."""


def pages() -> list[Path]:
    return [page for page in (*PAGES, ROOT / "CONTRIBUTING.md") if commands(page) and page != EXTENDING]


def in_order(page: Path) -> list[Block]:
    return sorted(blocks(page), key=lambda block: int(block.place.rpartition(":")[2]))


def commands(page: Path) -> list[list[str]]:
    """Return the words of each command of a page. What a block shows beside lines with a prompt is output."""
    return [words for block in in_order(page) for words in of_block(block)]


def of_block(block: Block) -> list[list[str]]:
    if block.language not in ("", "sh", "bash", "console"):
        return []
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line for line in lines if line.startswith("$ ")]
    return [shlex.split(found[1], comments=True) for line in lines if (found := COMMAND.fullmatch(line))]


def title(page: Path, words: list[str]) -> str:
    return f"{page.relative_to(ROOT)}: {shlex.join(words)}"


def shrunk(words: list[str]) -> list[str]:
    """Cut the budgets of a command; a training without one makes a few updates."""
    cut = [BUDGETS.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    trains = any(f"glassgpt {name}" in shlex.join(words) for name in ("train", "finetune", "sweep"))
    ends = {"--minutes", "--training.seconds", "--training.steps", "--epochs", "--help"}
    if trains and not ends & set(words):
        cut += ["--training.steps", BUDGETS["--training.steps"]]
    return cut


def test_budgets_are_cut_and_nothing_else() -> None:
    lines = {
        "glassgpt plan x --minutes 10": "glassgpt plan x --minutes 0.1",
        "glassgpt train x --training.steps 2000 --model.n-layer 9": (
            "glassgpt train x --training.steps 4 --model.n-layer 9"
        ),
        "glassgpt finetune sft x y": "glassgpt finetune sft x y --training.steps 4",
        "glassgpt sweep x --seeds 3": "glassgpt sweep x --seeds 3 --training.steps 4",
        "glassgpt runs": "glassgpt runs",
    }
    assert {line: shlex.join(shrunk(line.split())) for line in lines} == lines


def test_each_command_that_cannot_run_is_in_the_pages() -> None:
    there = {title(page, words) for page in pages() for words in commands(page)}
    assert set(CANNOT_RUN) <= there
    assert len(there) > 80


def test_each_file_and_run_that_is_put_there_is_named_in_the_pages() -> None:
    words = [word for page in pages() for words in commands(page) for word in words]
    patterns, named = [word for word in words if "*" in word], " ".join(words)
    missing = [name for name in (*FILES, *RUNS) if name not in named]
    assert not [name for name in missing if not any(fnmatch.fnmatchcase(name, each) for each in patterns)]


class Place:
    """An empty folder in which a page's commands run, in a home, a cache and a path of their own."""

    def __init__(self, folder: Path, made: Path | None = None) -> None:
        self.folder, self.made = folder / "here", made
        programs = folder / "programs"
        for path in (self.folder, programs):
            path.mkdir(parents=True)
        downloads = folder / "cache" / "downloads"  # as one who has a network finds it after the first use
        downloads.mkdir(parents=True)
        (downloads / "tinyshakespeare.txt").symlink_to(SHARED / "data" / "tinyshakespeare.txt")
        (programs / "glassgpt").write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m glassgpt "$@"\n'
        )
        (programs / "glassgpt").chmod(0o755)
        self.variables = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(folder),
            "GLASSGPT_CACHE": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            "TIKTOKEN_CACHE_DIR": str(SHARED / "tiktoken-cache"),
        }

    def run(self, words: list[str]) -> str:
        """Run a command after its stand-ins; return what is wrong, "" when it succeeded."""
        words = [self.moved(word) for word in words]
        if words[0] == "export":
            self.variables |= dict(word.split("=", 1) for word in words[1:])
            return ""
        self.put(words)
        line = " ".join(
            word if word in ENDS_A_COMMAND or re.match(r"[A-Z_]+=", word) else shlex.quote(word)
            for word in shrunk(words)
        )
        ran = subprocess.run(
            ["sh", "-c", line], cwd=self.folder, input=TYPED, capture_output=True, text=True,
            env={name: value for name, value in os.environ.items() if name != "GLASSGPT_RUNS"} | self.variables,
        )  # fmt: skip
        return f"$ {line}\n{ran.stdout[-600:]}{ran.stderr[-1500:]}" if ran.returncode else ""

    def moved(self, word: str) -> str:
        """Let a path of the reader's whole machine be one of this folder."""
        return re.sub(r"(?:^|(?<==))/", f"{self.folder}/machine/", word)

    def put(self, words: list[str]) -> None:
        """Make the files and runs that a command names, where they are not there yet."""
        named = [word for before, word in zip(["", *words], words, strict=False) if before != "--name"]
        for word in named:
            path = self.folder / word.rpartition("=")[2].partition("*")[0]
            for name, make in FILES.items():
                if f"{path}/".endswith(f"/{name.rstrip('/')}/") and not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    make(path)
            name = word.removeprefix("runs/").removesuffix("/config.toml")
            for run in RUNS:
                if run == name or ("*" in name and fnmatch.fnmatchcase(run, name)):
                    self.put_run(run)
        if {"generate", "chat", "eval", "runs"} & set(words) and not (self.folder / "runs").exists():
            self.put_run("tinytales-1")

    def put_run(self, name: str) -> None:
        runs = Path(self.variables.get("GLASSGPT_RUNS", self.folder / "runs"))
        removed = (runs / ".removed" / name).exists()  # for `restore` to bring back
        if self.made and not removed and not (runs / name).exists():
            shutil.copytree(self.made / "runs" / RUNS[name], runs / name)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs that are copied to where a page tells of them."""
    place = Place(tmp_path_factory.mktemp("made"))
    for line in MADE:
        assert not (wrong := place.run(shlex.split(line))), wrong
    return place.folder


def failures(page: Path, place: Place) -> Iterator[str]:
    for block in in_order(page):
        if block.language == "toml" and (name := re.match(r"# (\S+\.toml)", block.text)):
            (place.folder / name[1]).write_text(block.text, encoding="utf-8")
        for words in of_block(block):
            if title(page, words) not in CANNOT_RUN:
                yield place.run(words)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
@pytest.mark.usefixtures("shared_data", "tiktoken_cache")
def test_the_commands_of_a_page_run(page: Path, made: Path, tmp_path: Path) -> None:
    failed = [wrong for wrong in failures(page, Place(tmp_path, made)) if wrong]
    assert not failed, "\n\n".join(failed)
