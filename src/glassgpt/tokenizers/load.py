"""Finding a tokenizer by name or path."""

from __future__ import annotations

from pathlib import Path

from glassgpt.errors import TokenizerError, did_you_mean
from glassgpt.system import explaining
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.ready_made import READY_MADE, ready_made_json

TOKENIZER_FILE = "tokenizer.json"


@explaining
def load_tokenizer(name_or_path: str | Path) -> FastTokenizer:
    """Return a ready-made vocabulary by name, or one from a `tokenizer.json` or a folder with one (a run).

    Names come first; write `./gpt2` for a folder with such a name. Raises `TokenizerError` when there is
    none, `OfflineError` when a ready-made one is not on this machine and cannot be downloaded.
    """
    if str(name_or_path) in READY_MADE:
        return FastTokenizer.from_json(ready_made_json(str(name_or_path)))
    path = Path(name_or_path)
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if file.is_file():
        return FastTokenizer.from_file(file)
    if path.is_dir():
        raise TokenizerError(
            f"The folder {path} holds no {TOKENIZER_FILE}. Give the folder of a run, or a file."
        )
    raise TokenizerError(
        f"There is no tokenizer {str(name_or_path)!r}: no file or folder of that name, and none of the "
        f"ready-made ones ({', '.join(READY_MADE)}).{did_you_mean(str(name_or_path), READY_MADE, most=1)}"
    )
