"""Every error a user can meet, as one tree.

    GlassGPTError
    ├── UsageError           a command line cannot be understood
    ├── ConfigError          a setting is unknown, of the wrong type, or contradicts another
    ├── MissingExtraError    an optional library is not installed
    ├── OfflineError         something had to be downloaded and could not be
    ├── DiskFullError        the disk filled up during a write
    ├── AccessError          the operating system does not let a file or folder be read or written
    ├── MemoryFullError      there is not enough memory
    ├── OutputError          output could not be printed or written, or would replace something
    ├── CorpusError          text could not be found, read, or used
    ├── TokenizerError       a vocabulary could not be built, loaded, or applied
    ├── DatasetError         token shards are missing, incomplete, or from another tokenizer
    ├── ModelError           a model cannot be built or does not fit the weights
    ├── TrainingError        training cannot continue
    │   └── NonFiniteLossError   the loss became NaN or infinite; the update was not applied
    ├── GenerationError      a prompt or a sampling setting cannot be used
    ├── EvaluationError      a task is unknown, or does not suit a model
    ├── InspectionError      a text or a place in a model cannot be looked at as asked
    ├── InteropError         a model from another program cannot be read, or ours cannot be written for it
    └── RunError             a run directory is missing, taken, or does not fit together
        ├── CheckpointError     a checkpoint is incomplete, truncated, or altered
        └── MisplacedWordError  words were given where a run belongs, and name none

Each message is one short paragraph: what is wrong, then what to do next. A second way out with a command is a note
(`add_note`). The command line prints both and exits with status 1, or 2 for a `UsageError`; a Python caller catches
`GlassGPTError`. A Python `assert` marks what cannot happen; one that fails is a bug.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class GlassGPTError(Exception):
    """Base of every error that the user can correct. `str(error)` is the whole message, without notes."""


class UsageError(GlassGPTError):
    """A command line cannot be understood: an unknown command or option, or one with several meanings."""


class ConfigError(GlassGPTError):
    """A setting is unknown, of the wrong type, out of range, or contradicts another."""


class MissingExtraError(GlassGPTError):
    """An optional library is not installed; the message gives the command that installs it."""


class OfflineError(GlassGPTError):
    """A download was needed and failed; the message says which file to put where."""


class DiskFullError(GlassGPTError):
    """The disk filled up during a write. The earlier file is untouched."""


class AccessError(GlassGPTError):
    """A file or folder cannot be read or written: no permission, a wrong name, a damaged disk."""


class MemoryFullError(GlassGPTError):
    """The machine or its device does not have enough memory for what was asked."""


class OutputError(GlassGPTError):
    """Standard output could not be written, or an output file would replace another."""


class CorpusError(GlassGPTError):
    """Text could not be found, read, or used."""


class TokenizerError(GlassGPTError):
    """A vocabulary could not be built, loaded, or applied."""


class DatasetError(GlassGPTError):
    """Token shards are missing, incomplete, too small, or made by another tokenizer."""


class ModelError(GlassGPTError):
    """A model cannot be built as asked, or does not fit its weights."""


class TrainingError(GlassGPTError):
    """Training cannot start or continue."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite. The update was not applied."""


class GenerationError(GlassGPTError):
    """A prompt or a sampling setting cannot be used."""


class EvaluationError(GlassGPTError):
    """A task is unknown, or does not suit this model."""


class InspectionError(GlassGPTError):
    """A text, or a place in a model, cannot be looked at as asked."""


class InteropError(GlassGPTError):
    """A model from elsewhere cannot be read, or ours cannot be written in the format asked for."""


class RunError(GlassGPTError):
    """A run directory is missing, already taken, or does not fit together."""


class CheckpointError(RunError):
    """A checkpoint is incomplete, truncated, or altered."""


class MisplacedWordError(RunError):
    """Words were given where a run belongs, and name none as they are. A command line adds what they may mean.

    `fact` is the sentence that says what is wrong, `hint` what to do where nothing more is known, and `words` are the
    words in the order given.
    """

    def __init__(self, fact: str, hint: str, *, words: tuple[str, ...]) -> None:
        super().__init__(f"{fact} {hint}".strip())
        self.fact, self.hint, self.words = fact, hint, words

    def followed_by(self, *words: str) -> MisplacedWordError:
        """Return the error with the words that came after."""
        return MisplacedWordError(self.fact, self.hint, words=(*self.words, *words))


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """Return " Did you mean a, b?" with the names in `known` nearest to `name`, or "" if none is near."""
    near = difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)
    return f" Did you mean {', '.join(near)}?" if near else ""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional library, or raise `MissingExtraError` with the command that installs it.

    `purpose` completes the sentence "... is needed to {purpose}", for example "read .parquet files".
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        trouble = "is not installed" if missing else f"cannot be imported ({error})"
        raise MissingExtraError(
            f"The library {package!r} is needed to {purpose}, and {trouble}. "
            f"Install it with:  pip install 'glassgpt[{extra}]'"
        ) from error
