"""Where the tokenizer of a name is: all commands and settings that take a tokenizer also take a run by its name."""

from __future__ import annotations

from glassgpt.runs.directory import find_run, runs_folder
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.load import TOKENIZER_FILE, load_tokenizer
from glassgpt.tokenizers.ready_made import READY_MADE


def named_tokenizer(name: str) -> FastTokenizer:
    """Load a tokenizer by a ready-made name, its file or folder, or the name of a run.

    Raises `TokenizerError` for a name that is none of them, and as `tokenizer_place`.
    """
    return load_tokenizer(tokenizer_place(name))


def tokenizer_place(name: str) -> str:
    """Return the file of a run's tokenizer for the name of a run or `latest`; any other name as it is.

    A ready-made name comes first, so that a run of that name does not replace it. Raises `RunError` for `latest`
    where there are no runs.
    """
    if name in READY_MADE:
        return name
    if name == "latest":
        return str(find_run(name).tokenizer)
    of_run = runs_folder() / name / TOKENIZER_FILE
    return str(of_run) if name and of_run.is_file() else name
