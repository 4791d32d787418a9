"""What a person most likely meant who gave a command something else than a run: a sentence, and the whole command.

One place looks at what a word is: a part of a run, a folder of runs, an export, a model of another program, a text, a
name with a slip, or a prompt. The command that is printed keeps all other words and options as they were typed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glassgpt.commands import command, line_of
from glassgpt.errors import GlassGPTError, MisplacedWordError, RunError
from glassgpt.runs.directory import RunDirectory, find_run, list_runs, plain_name, runs_folder

GROUPS = ("finetune", "runs", "tokenizer", "data")
"""Commands whose second word is part of their name."""
TEXT_FOLLOWS = ("eval", "evaluate", "finetune")
"""Commands that take a text or records after the run."""
PROMPT_FOLLOWS = ("generate", "classify")
BASE_MINUTES = 2
"""Minutes for a first base, as in the README."""
LONGEST = 300
"""Characters; a longer prompt is not repeated."""
MOST_LOOKED_AT = 1000
"""The most files of a folder that are looked at."""


@dataclass(frozen=True)
class Meaning:
    """What a word is, what to give in its place, and the command that has to come before, if any."""

    what: str
    instead: tuple[str, ...] = ()
    before: str = ""
    old: tuple[str, ...] = ()
    """The words that are replaced, if they are not those of the error."""


def advised(error: GlassGPTError, arguments: Sequence[str]) -> GlassGPTError:
    """Return an error with the command that was most likely meant, given the words that were typed.

    Any error but a `MisplacedWordError`, and one about a word whose meaning cannot be guessed, is returned as it is.
    """
    if not isinstance(error, MisplacedWordError) or not arguments:
        return error
    try:
        meaning = next((found for look in LOOKS if (found := look(error, arguments)) is not None), None)
    except (GlassGPTError, OSError, ValueError):  # a place that cannot be read
        return error
    if meaning is None:
        return error
    instead = tuple("TEXT" if len(word) > LONGEST else word for word in meaning.instead)
    words = instead and replaced(arguments, meaning.old or error.words, instead)
    line = " && ".join(filter(None, (meaning.before, line_of(words) if words else "")))
    return RunError(f"{meaning.what}  {line}")


def replaced(arguments: Sequence[str], old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return a command line with some of its words, which may have options between them, replaced by others."""
    words, left = [], list(old)
    for place, word in enumerate(arguments):
        if place >= _name_length(arguments, old) and left and word == left[0]:
            if len(left) == len(old):
                words += new
            del left[0]
        else:
            words.append(word)
    if any(word.startswith("-") for word in new):  # they are words only after a --
        words = [word for word in words if word not in (*new, "--")] + ["--", *new]
    return words


def _name_length(arguments: Sequence[str], words: Sequence[str]) -> int:
    """Return how many words name the command; `runs NAME` has no second one."""
    return 2 if arguments[0] in GROUPS and list(arguments[1:2]) != list(words[:1]) else 1


def _as_path(word: str) -> Path | None:
    """Return the path of a file or folder that exists, or None."""
    try:
        return Path(word) if word and Path(word).exists() else None
    except (OSError, ValueError):  # not a possible name
        return None


def _is_run(path: Path) -> bool:
    return (path / "config.toml").is_file()


def _run_of(word: str) -> RunDirectory | None:
    try:
        return find_run(word)
    except RunError:
        return None


def _several_words(error: MisplacedWordError, arguments: Sequence[str]) -> Meaning | None:
    """A run, and after it a prompt without quotes, or what is only typed when a chat asks."""
    run, *text = error.words
    if arguments[0] not in ("generate", "chat") or not text or not _run_of(run):
        return None
    return Meaning(error.fact, (run,) if arguments[0] == "chat" else (run, " ".join(text)))


def _swapped(error: MisplacedWordError, arguments: Sequence[str]) -> Meaning | None:
    """Two words in the wrong order: the next one names a run."""
    place = _name_length(arguments, error.words)
    there = arguments[place : place + 2]
    if len(there) < 2 or there[0] != error.words[0] or there[1].startswith("-") or not _run_of(there[1]):
        return None
    if _run_of(there[0]):
        return None
    first = "tokenizer" if arguments[0] == "tokenizer" else "run"
    return Meaning(f"{error.fact} The {first} comes first:", (there[1], there[0]), old=tuple(there))


def _part_of_a_run(error: MisplacedWordError, _arguments: Sequence[str]) -> Meaning | None:
    path = _as_path(error.words[0])
    inside = [parent for parent in path.resolve().parents if _is_run(parent)] if path else []
    if not inside:
        return None
    run = RunDirectory(_relative(inside[0]))
    return Meaning(f"{path} is a part of the run {run.name}. Did you mean:", (run.handle, *error.words[1:]))


def _folder_of_runs(error: MisplacedWordError, _arguments: Sequence[str]) -> Meaning | None:
    """The folder `runs`, or that of a project with it."""
    path = _as_path(error.words[0])
    for folder in (path, path and path / "runs"):
        runs = [each for each in folder.iterdir() if _is_run(each)] if folder and folder.is_dir() else []
        if runs:
            newest = RunDirectory(max(runs, key=lambda run: (run / "config.toml").stat().st_mtime))
            what = f"{path} holds {len(runs)} run{'s' if len(runs) > 1 else ''}."
            return Meaning(f"{what} For the newest:", (newest.handle, *error.words[1:]))
    return None


def _export(error: MisplacedWordError, _arguments: Sequence[str]) -> Meaning | None:
    """What `glassgpt export` wrote, by the name that it gives."""
    path = _as_path(error.words[0])
    named = re.fullmatch(r"(.+?)(-hf|-(f32|f16|q8_0)\.gguf|\.onnx(\.data)?)", path.name) if path else None
    run = _run_of(named[1]) if named else None
    if run is None:
        return None
    return Meaning(
        f"{path} is an export of the run {run.name}. Did you mean:", (run.handle, *error.words[1:])
    )


def _foreign_model(error: MisplacedWordError, arguments: Sequence[str]) -> Meaning | None:
    """A folder in the Hugging Face format, a name on its hub, or a notebook's file: to be imported first."""
    word = error.words[0]
    path = _as_path(word)
    if path is None:
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", word) or _as_path(word.partition("/")[0]):
            return None
        return _imported(
            word, word, f"{error.fact} A model of the Hugging Face hub is imported", arguments, error
        )
    if path.is_file() and path.suffix in (".pt", ".pth"):
        what = f"{path} has the weights of a notebook, and is not a run. It is imported"
        return _imported(str(path), path.stem, what, arguments, error)
    folder = path if path.is_dir() else path.parent
    has_weights = any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))
    if not (folder / "config.json").is_file() or not has_weights or folder.name == "":
        return None
    what = f"{folder} is a model in the Hugging Face format, and not a run. It is imported"
    return _imported(str(folder), folder.resolve().name, what, arguments, error)


def _imported(
    source: str, name: str, what: str, arguments: Sequence[str], error: MisplacedWordError
) -> Meaning:
    made = next((run for run in reversed(list_runs()) if _source_of(run) == name), None)
    if made is not None:
        return Meaning(f"{what} already, as {made.name}:", (made.handle, *error.words[1:]))
    name = _free(plain_name(name.rpartition("/")[2]))
    line = command("import", source, name=name)
    if arguments[0] == "resume":  # there is no training to resume
        return Meaning(f"{what} with:", before=line)
    return Meaning(f"{what} first:", (name, *error.words[1:]), before=line)


def _source_of(run: RunDirectory) -> str | None:
    """Return the name of the model that a run was imported from."""
    from glassgpt.runs.reading import read_lineage

    try:
        source = read_lineage(run).source
    except RunError:
        return None
    return source.name if source else None


def _free(name: str) -> str:
    """Return the name, or the name with a number if a run has it already."""
    numbered = (f"{name}-{number}" for number in range(1, 10_000))
    return next(each for each in (name, *numbered) if not (runs_folder() / each).exists())


def _text(error: MisplacedWordError, arguments: Sequence[str]) -> Meaning | None:
    """A text or records: given without the run before them, or to train on."""
    word = error.words[0]
    path = _as_path(word)
    if not (word.startswith(("builtin:", "hf:")) or (path and _is_text(path))):
        return None
    records = arguments[0] == "finetune"
    kind = "a folder of texts" if path and path.is_dir() else "a file of records" if records else "a text"
    what = f"{word} is {kind}, and not a run."
    if arguments[0] in TEXT_FOLLOWS and _run_of("latest"):
        return Meaning(f"{what} With the newest run:", ("latest", *error.words))
    if records:
        what += " A base comes before them, and no run is there yet. This trains one on the built-in stories first:"
        return Meaning(what, ("latest", *error.words), before=command("train", minutes=BASE_MINUTES))
    return Meaning(f"{what} Train a run on it:", before=command("train", word))


def _is_text(path: Path) -> bool:
    from itertools import islice

    from glassgpt.corpus.decoding import COMPRESSIONS
    from glassgpt.corpus.formats import FORMATS

    if path.is_dir():
        return any(_is_text(file) for file in islice(path.iterdir(), MOST_LOOKED_AT) if file.is_file())
    suffixes = [suffix for suffix in path.suffixes if suffix not in COMPRESSIONS]
    return bool(suffixes) and suffixes[-1].removeprefix(".").lower() in FORMATS


def _slip(error: MisplacedWordError, arguments: Sequence[str]) -> Meaning | None:
    """A name that is nearly that of a run, or of what else the command takes."""
    word = error.words[0]
    if _as_path(word):
        return None
    names = [run.handle for run in list_runs()] + list(_other_names(arguments))
    names = [name for name in names if name not in arguments]
    name = Path(word).name or word
    near = [each for each in names if each.lower() == name.lower()]
    cutoff = 0.8 if re.search(r"\s", word.strip()) else 0.6
    near = near or difflib.get_close_matches(name, names, cutoff=cutoff)
    if not near:
        return None
    what = f"{error.fact} Did you mean {' or '.join(near)}?"
    return Meaning(what, (near[0], *error.words[1:]))


def _other_names(arguments: Sequence[str]) -> Iterator[str]:
    if arguments[0] == "tokenizer":
        from glassgpt.tokenizers.ready_made import READY_MADE

        yield from READY_MADE
    if arguments[0] == "model":
        from glassgpt.model.presets import PRESETS

        yield from PRESETS


def _prompt(error: MisplacedWordError, arguments: Sequence[str]) -> Meaning | None:
    """What the model shall continue, or what is said to it."""
    text = " ".join(error.words)
    if _as_path(text) or arguments[0] not in (*PROMPT_FOLLOWS, "chat"):
        return None
    if not _run_of("latest"):
        return Meaning(f"{error.fact} No run is there yet. Make one first:", before=command("train"))
    if arguments[0] == "chat":
        return Meaning(f"{error.fact} Begin with the newest run, and type this when it asks:", ("latest",))
    what = "To classify this text" if arguments[0] == "classify" else "To continue this text"
    return Meaning(f"{error.fact} {what} with the newest run:", ("latest", text))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


LOOKS: tuple[Callable[[MisplacedWordError, Sequence[str]], Meaning | None], ...] = (
    _several_words,
    _part_of_a_run,
    _swapped,
    _folder_of_runs,
    _export,
    _slip,
    _foreign_model,
    _text,
    _prompt,
)
"""The likeliest meaning first."""
