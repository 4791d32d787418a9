"""Where runs are stored and how one is found: `runs/<name>/`, by path, by name, or as `latest`.

    config.toml  tokenizer.json  model.safetensors  lineage.json
    checkpoints/step-*/  snapshots/  metrics.jsonl  samples.md  loss.png  report.html

The layout is the whole interface: every other module of this package reads or writes one of these files.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from glassgpt.commands import command, quoted
from glassgpt.errors import MisplacedWordError, RunError, did_you_mean
from glassgpt.leftovers import TEMPORARY

LOCK = ".lock"
"""Held by the process that writes to a run (see `claim`)."""
MOST_BYTES = 200
"""Longest name of a run in UTF-8. File systems take 255 bytes; temporary files beside it have longer names."""
LIST_RUNS = "`glassgpt runs` lists the runs."


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
        """How a command names this run: by its name where that finds it, else by its path."""
        by_name = Path("runs") / self.name
        found_first = Path(self.name) / "config.toml"
        return self.name if is_same(by_name, self.path) and not _exists(found_first) else str(self.path)

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
        """The origin of data, tokenizer and weights."""
        return self.path / "lineage.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def snapshots(self) -> Path:
        """The folder of weights that were kept for good, `step-*.safetensors` (`--training.keep-every`)."""
        return self.path / "snapshots"

    @property
    def chat_template(self) -> Path:
        """The Jinja template of messages; only runs of chat models have it."""
        return self.path / "chat_template.jinja"

    @property
    def adapter(self) -> Path:
        """The trained adapter in PEFT's format; only runs that are adapters have it."""
        return self.path / "adapter"

    @property
    def finetune(self) -> Path:
        """The settings of a fine-tuning; only fine-tuned runs have it."""
        return self.path / "finetune.toml"

    @property
    def confusion(self) -> Path:
        """The confusion of labels as a picture; only runs that classify have it."""
        return self.path / "confusion.png"

    @property
    def confusion_counts(self) -> Path:
        """The numbers of that picture."""
        return self.path / "confusion.json"

    @property
    def comparison(self) -> Path:
        """Scores and samples of a fine-tuned run before and after training."""
        return self.path / "comparison.json"

    @property
    def metrics(self) -> Path:
        """One event per line."""
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
    def note(self) -> Path:
        """What a person noted about the run; only runs with a note have it."""
        return self.path / "note.txt"

    @property
    def report(self) -> Path:
        """The self-contained HTML page."""
        return self.path / "report.html"


def runs_folder() -> Path:
    """Return the folder of runs: `$GLASSGPT_RUNS`, or `runs` in the current folder."""
    return Path(os.environ.get("GLASSGPT_RUNS") or "runs")


def list_runs() -> list[RunDirectory]:
    """Return every run, the most recently changed one last; runs with damaged or missing files are included.

    Raises `RunError` when the folder of runs cannot be read.
    """
    folder = runs_folder()
    try:
        names = os.listdir(folder)  # noqa: PTH208 - Path.iterdir says the same later
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error
    found = [RunDirectory(folder / name) for name in names if not name.startswith(".")]
    return sorted(filter(_shows_a_run, found), key=lambda run: (last_change(run), run.name))


def find_run(name: str) -> RunDirectory:
    """Return the run at a path, with a name, or the `latest`. Raises `RunError` naming similar ones."""
    if name == "latest":
        return _latest()
    there = [path for path in _places(name) if _kind(path)]
    for path in there:
        if _kind(path) == "folder" and _kind(path / "config.toml") == "file":
            return RunDirectory(path)
    if there:
        raise _no_run_there(there[0], name)
    raise _unknown(name)


def refuse_taken(name: str) -> None:
    """Raise `RunError` when a run of this name exists (nothing is ever overwritten), or the name is not allowed."""
    refuse_impossible(name)
    path = runs_folder() / normal(name)
    if not _kind(path) or is_free(path):
        return
    if _kind(path) == "folder" and not _kind(path / "config.toml"):
        raise RunError(
            f"{path} exists already and is not a run: it has no config.toml. Perhaps it was killed at its start. "
            f"Choose another --name, or move it away:  mv {quoted(str(path))} {quoted(f'{path}.old')}"
        )
    raise RunError(
        f"{path} exists already. Choose another --name, continue it "
        f"({command('resume', RunDirectory(path).handle)}), or delete it."
    )


def refuse_impossible(name: str) -> None:
    """Raise `RunError` when a run could not be found by this name, or no file system would accept it."""
    shown = shortened(name)
    if len(normal(name).encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise RunError(f"The name {shown!r} is too long for a run: the limit is {MOST_BYTES} bytes.")
    if name == "latest" or not re.fullmatch(r"[^\W_][^/\\]*", name) or not name.isprintable():
        raise RunError(
            f"A run cannot be called {shown!r}. A name begins with a letter or a digit, has no slash in it, and is "
            "not `latest`, which always means the newest run."
        )


def is_free(path: Path) -> bool:
    """Return whether a new run may use this existing path: an empty folder, or one with the first file of a killed run.

    Versions before 0.2 made a run's folder first; a fine-tuning that was killed then left only `finetune.toml`.
    """
    if _kind(path) != "folder":
        return False
    return all(name in ("finetune.toml", LOCK) or TEMPORARY.fullmatch(name) for name in os.listdir(path))  # noqa: PTH208


def plain_name(base: str) -> str:
    """Return a name for a run made from any text: its letters and digits of any script, or "run" if it has none."""
    kept = "".join(char if _may_stay(char) else " " for char in normal(base))
    name = re.sub(r"[ -]+", "-", kept)
    name = name.encode()[: MOST_BYTES - 20].decode(errors="ignore")  # room for a number
    while name and not name[0].isalnum():
        name = name[1:]
    return name.rstrip("-.") or "run"


def normal(name: str) -> str:
    """Return a name in Unicode's normal form C, in which equal letters are equal characters."""
    return unicodedata.normalize("NFC", name)


def shortened(name: str, most: int = 60) -> str:
    """Return a name for a message; a long one is cut."""
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _may_stay(char: str) -> bool:
    return (
        char in "._-" or unicodedata.category(char)[0] in "LNM"
    )  # letters, numbers, and the marks on letters


def _places(name: str) -> Iterator[Path]:
    """Yield where a run of this name or path could be."""
    if name:
        yield from (Path(name), runs_folder() / name, runs_folder() / normal(name))


def _kind(path: Path) -> str:
    """Return "folder", "file", "link" for a broken link, or "" where there is nothing.

    Raises `RunError` where that cannot be found out: an unreadable place is not an empty one.
    """
    try:
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
    except ValueError:  # not a possible file name
        return ""
    except (FileNotFoundError, NotADirectoryError):
        return "link" if path.is_symlink() else ""
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return ""
        raise _unreadable(path, error) from error


def _shows_a_run(run: RunDirectory) -> bool:
    try:
        return any(map(_kind, (run.config, run.lineage, run.checkpoints)))
    except RunError:
        return True  # an unreadable run is listed as damaged


def _latest() -> RunDirectory:
    runs = [run for run in list_runs() if run.config.is_file()]
    if not runs:
        raise RunError(f"There is no run in {runs_folder()} yet. Make one with:  glassgpt train")
    return runs[-1]


def _no_run_there(path: Path, name: str) -> RunError:
    if _kind(path) == "file":
        return MisplacedWordError(f"{path} is a file, and a run is a folder.", LIST_RUNS, words=(name,))
    if _kind(path) == "link":
        return RunError(
            f"{path} is a link to {os.readlink(path)}, which does not exist. Is the disk that holds it "  # noqa: PTH115
            "connected?"
        )
    if is_free(path) and any(path.iterdir()):
        return RunError(
            f"{path} is not a run: it was killed at its start, and nothing was trained. Repeat the command that began "
            f"it, with --name {quoted(path.name)}."
        )
    return MisplacedWordError(f"{path} is not a run: it has no config.toml.", LIST_RUNS, words=(name,))


def _unknown(name: str) -> RunError:
    if not name.strip():
        return RunError(f"The name of a run is empty. {LIST_RUNS}")
    hint = did_you_mean(name, [run.name for run in list_runs()]).strip() or LIST_RUNS
    return MisplacedWordError(
        f"There is no run called {shortened(name)!r} in {runs_folder()}.", hint, words=(name,)
    )


def _unreadable(path: Path, error: OSError) -> RunError:
    return RunError(f"{shortened(str(path), 200)} cannot be read: {error.strerror or error}.")


def is_same(path: Path, other: Path) -> bool:
    """Return whether two paths lead to the same place."""
    try:
        return path.samefile(other)
    except OSError:
        return path.absolute() == other.absolute()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def last_change(run: RunDirectory) -> float:
    """Return when the config or the metrics of a run changed last, in seconds since 1970."""
    try:
        return max(file.stat().st_mtime for file in (run.config, run.metrics) if file.exists())
    except (OSError, ValueError):
        return time.time()
