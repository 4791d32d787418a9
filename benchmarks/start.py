"""Start-up time: the help page and the first token of a small run, each as a whole process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Figure

GLASSGPT = (sys.executable, "-m", "glassgpt")
ROUNDS = 5


def run(quick: bool) -> list[Figure]:
    """Train a few steps in a temporary folder, then time repeated starts."""
    rounds = 1 if quick else ROUNDS
    with tempfile.TemporaryDirectory(prefix="glassgpt-start-") as name:
        folder = Path(name)
        environment = os.environ | {
            "GLASSGPT_RUNS": str(folder / "runs"),
            "GLASSGPT_CACHE": str(folder / "cache"),
        }
        _train(folder, environment)
        generate = [*GLASSGPT, "generate", "small", "Once upon a time", "--max-tokens", "40", "--seed", "1"]
        help_page = [_seconds_to_output([*GLASSGPT, "--help"], environment, folder) for _ in range(rounds)]
        first_token = [_seconds_to_output(generate, environment, folder, skip=17) for _ in range(rounds)]
    return [
        _figure("glassgpt --help, until it has been shown", help_page, 0.4),
        _figure("glassgpt generate, until the first token", first_token, 2.0),
    ]


def _train(folder: Path, environment: dict[str, str]) -> None:
    small = ["--training.steps", "8", "--model.n-layer", "2", "--model.n-embd", "64", "--model.n-head", "2"]
    command = [
        *GLASSGPT,
        "train",
        "builtin:tinytales:200",
        "--name",
        "small",
        "--tokenizer.vocab-size",
        "512",
    ]
    done = subprocess.run(
        [*command, *small, "--model.context-length", "64", "--training.batch-size", "4",
         "--training.evaluate-tokens", "2000"],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"The small run could not be trained:\n{done.stderr}")


def _seconds_to_output(command: list[str], environment: dict[str, str], folder: Path, skip: int = 0) -> float:
    """Return the seconds from the start of a process to its end, or to the byte after the first `skip` bytes.

    The prompt and the first token are written together, so the byte after the prompt is the first token.
    """
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        shown = process.stdout.read(skip) if skip else process.stdout.read()
        seconds = time.perf_counter() - began
        process.stdout.read()
    if process.returncode or not shown:
        sys.exit(f"{' '.join(command)} failed.")
    return seconds


def _figure(what: str, seconds: list[float], most: float) -> Figure:
    middle = statistics.median(seconds)
    return Figure(what, f"{middle:.2f} s", mark=f"at most {most} s", reached=middle <= most)
