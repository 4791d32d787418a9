"""Where runs live and how one is found: `runs/<name>/`, by path, by name, or as `latest`.

    config.toml  tokenizer.json  model.safetensors  lineage.json
    checkpoints/step-*/  metrics.jsonl  samples.md  loss.png  report.html

The layout is the whole interface: every other module of this room reads or writes one of these files.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from glassgpt.commands import command
from glassgpt.errors import RunError, did_you_mean


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The paths inside one run."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.path.resolve().name

    @property
    def handle(self) -> str:
        """What names this run in a command that is typed here: its name where that finds it, else its path."""
        by_name = Path("runs") / self.name
        found_first = Path(self.name) / "config.toml"
        return self.name if _is_same(by_name, self.path) and not _exists(found_first) else str(self.path)

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def tokenizer(self) -> Path:
        """The vocabulary, in the Hugging Face format."""
        return self.path / "tokenizer.json"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.path / "model.safetensors"

    @property
    def lineage(self) -> Path:
        """Where everything came from."""
        return self.path / "lineage.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def chat_template(self) -> Path:
        """How messages are written for a model that answers, as Jinja; only runs that were taught to have it."""
        return self.path / "chat_template.jinja"

    @property
    def adapter(self) -> Path:
        """The trained adapter of a run that is one, in PEFT's format."""
        return self.path / "adapter"

    @property
    def finetune(self) -> Path:
        """Every decision of a fine-tuning; only fine-tuned runs have it."""
        return self.path / "finetune.toml"

    @property
    def confusion(self) -> Path:
        """Which labels a run that classifies takes for which, as a picture."""
        return self.path / "confusion.png"

    @property
    def comparison(self) -> Path:
        """What a fine-tuned run could before and after, as numbers and samples."""
        return self.path / "comparison.json"

    @property
    def metrics(self) -> Path:
        """One event a line."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """What the model wrote at each evaluation."""
        return self.path / "samples.md"

    @property
    def plot(self) -> Path:
        """The loss curves as a picture."""
        return self.path / "loss.png"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.path / "report.html"


def runs_folder() -> Path:
    """Return the folder runs live in: `$GLASSGPT_RUNS`, or `runs` where the command was called."""
    return Path(os.environ.get("GLASSGPT_RUNS") or "runs")


def list_runs() -> list[RunDirectory]:
    """Return every run, the one worked on last at the end."""
    folder = runs_folder()
    found = [RunDirectory(path) for path in folder.glob("*/") if (path / "config.toml").is_file()]
    return sorted(found, key=lambda run: (_last_change(run), run.name))


def find_run(name: str) -> RunDirectory:
    """Return the run at a path, of a name, or the `latest`. Raises `RunError` naming what is near."""
    runs = list_runs()
    if name == "latest":
        if not runs:
            raise RunError(f"There is no run in {runs_folder()} yet. Make one with:  glassgpt train")
        return runs[-1]
    for path in (Path(name), runs_folder() / name):
        if (path / "config.toml").is_file():
            return RunDirectory(path)
    if Path(name).is_dir():
        raise RunError(
            f"{name} is not a run: it has no config.toml. `glassgpt runs` lists the runs there are."
        )
    hint = did_you_mean(name, [run.name for run in runs]) or " `glassgpt runs` lists the runs there are."
    raise RunError(f"There is no run called {name!r} in {runs_folder()}.{hint}")


def create_run(name: str | None, *, base: str) -> RunDirectory:
    """Make a new run directory called `name`, or `base-1`, `base-2` ... when no name is given.

    Raises `RunError` when the name is taken: nothing is ever overwritten.
    """
    if name is None:
        return _create_numbered(re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-.") or "run")
    refuse_taken(name)
    path = runs_folder() / name
    path.mkdir(parents=True, exist_ok=True)  # one left empty by a crash is free
    return RunDirectory(path)


def refuse_taken(name: str) -> None:
    """Raise `RunError` when a run of this name exists (nothing is ever overwritten), or none may have it."""
    if name == "latest" or not re.fullmatch(r"[^\W_][^/\\\0]*", name):
        raise RunError(
            f"A run cannot be called {name!r}. A name begins with a letter or a digit, has no slash in it, and is "
            "not `latest`, which always means the newest run."
        )
    path = runs_folder() / name
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise RunError(
            f"{path} exists already. Choose another --name, go on with it "
            f"({command('resume', RunDirectory(path).handle)}), or delete it."
        )


def _create_numbered(base: str) -> RunDirectory:
    """Make the first of `base-1`, `base-2` ... that is free, also when another process looks for one too."""
    number = 1
    while True:
        path = runs_folder() / f"{base}-{number}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return RunDirectory(path)


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return path.absolute() == other.absolute()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _last_change(run: RunDirectory) -> float:
    try:
        return max(file.stat().st_mtime for file in (run.config, run.metrics) if file.exists())
    except (OSError, ValueError):
        return time.time()
