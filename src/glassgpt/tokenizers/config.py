"""Which tokenizer to train, or which ready-made one to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from glassgpt.errors import ConfigError, did_you_mean
from glassgpt.idle import OnlyWith

Kind = Literal["char", "word", "bpe", "wordpiece"]
PatternName = Literal["gpt2", "llama3", "qwen2"]
Engine = Literal["auto", "rust", "python"]

DEFAULT_SIZE = 4096


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """How to make a vocabulary. Raises `ConfigError` for an invalid setting."""

    kind: Kind = "bpe"
    """What a token is: a character, a word, a byte-level BPE piece, or a WordPiece."""
    vocab_size: int | None = None
    """Number of ids in all, including special tokens and the 256 bytes. A text that is too small gives fewer.
    For `char` and `word` it is a maximum, and 0 means no limit. Default: 4096, and no limit for `char`."""
    pattern: PatternName = "gpt2"
    """BPE: how text is cut before merging. These three are the ones llama.cpp knows by name."""
    name: str | None = None
    """The tokenizer to use instead of training one: a ready-made vocabulary (`gpt2`, `cl100k_base`, `o200k_base`), a
    `tokenizer.json`, a folder with one, or a run. The other tokenizer settings cannot be given with it."""
    engine: Engine = "auto"
    """BPE: what learns the merges, Python or the Rust library. Both learn the same. `auto` takes Python."""
    min_frequency: int = 2
    """A pair (BPE, WordPiece) or a word that occurs less often gets no id. With `word`, the training text then
    contains `<|unk|>`. Characters are all kept."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        OnlyWith(("kind", "vocab_size", "pattern", "engine", "min_frequency"), "name", (None,)),
        OnlyWith(("pattern", "engine"), "kind", ("bpe",)),
        OnlyWith(("min_frequency",), "kind", ("bpe", "word", "wordpiece")),
    )

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, get_args(Kind))
        _one_of("pattern", self.pattern, get_args(PatternName))
        _one_of("engine", self.engine, get_args(Engine))
        if self.vocab_size is None:
            object.__setattr__(self, "vocab_size", 0 if self.kind == "char" else DEFAULT_SIZE)
        elif self.vocab_size < 0:
            raise ConfigError(f"`vocab_size` is {self.vocab_size}; it counts ids, so it must be 0 or more.")
        if self.min_frequency < 1:
            raise ConfigError(
                f"`min_frequency` is {self.min_frequency}; it must be 1 or more (1 keeps everything)."
            )


def _one_of(setting: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"`{setting}` is {value!r}; it must be one of {', '.join(known)}."
            + did_you_mean(str(value), known, most=1)
        )
