"""Earlier names of options, which commands still take for a release. Help does not list them.

The last part of a name is understood anyway (`guesses.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

RENAMED = {
    ("tokenizer", "train"): {"--out": "--output"},
    ("runs", "compare"): {"--out": "--output"},
    ("data", "inspect"): {"--clean": "--cleaning.mode"},
    ("model",): {"--name": "--preset"},
}
"""For each command, the earlier name of an option and its name now."""


def with_names_of_now(arguments: Sequence[str]) -> list[str]:
    """Return the words of a command line with each earlier name of an option replaced, up to a `--` if there is one."""
    given = tuple(arguments)
    names = next((names for command, names in RENAMED.items() if given[: len(command)] == command), {})
    words = list(arguments)
    for place, word in enumerate(words):
        if word == "--":
            break
        option, equals, value = word.partition("=")
        words[place] = names.get(option, option) + equals + value
    return words
