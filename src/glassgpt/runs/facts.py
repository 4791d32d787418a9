"""What `lineage.json`, `comparison.json` and `confusion.json` hold, as typed records.

A lineage says what a run is and where everything in it came from. It has a version, so that a later format is
recognised, and the kind of the run, so that nothing has to infer it from which files there are. Files of versions
before have neither: they are version 0, and a run without a kind was pretrained. Unknown keys are ignored.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import msgspec

VERSION = 1
"""The version that is written now."""


class TokenizerFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vocabulary."""

    fingerprint: str
    kind: str | None = None
    vocab_size: int | None = None


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file or corpus, identified by the hash of its content."""

    name: str
    fingerprint: str


class SplitFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The size of a split."""

    documents: int
    """Those that end in this split."""
    bytes: int
    tokens: int
    parts: int | None = None
    """Documents of which the split has at least a part. None where no document was cut, and in older files."""

    @property
    def amounts(self) -> tuple[int, int, int]:
        """What files of every version have: documents, bytes, tokens."""
        return self.documents, self.bytes, self.tokens

    @property
    def told(self) -> int:
        """The number of documents for a person, to whom a part of one is one, too."""
        return max(self.documents, self.tokens > 0) if self.parts is None else self.parts


class FloorFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The lowest possible loss."""

    loss: float
    bits_per_byte: float | None = None


class DataFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The training data."""

    sources: list[SourceFacts]
    documents: int
    splits: dict[str, SplitFacts]
    plan: str | None = None
    floor: FloorFacts | None = None
    shards: dict[str, str] | None = None
    compressed: float | None = None
    """Bits per byte that a file compressor needs for held-out text after training text (`corpus.repeats`)."""

    @property
    def fingerprints(self) -> list[str]:
        """The hash of each source, in order."""
        return [source.fingerprint for source in self.sources]

    @property
    def amounts(self) -> dict[str, tuple[int, int, int]]:
        """The amounts of each split (see `SplitFacts.amounts`)."""
        return {name: split.amounts for name, split in self.splits.items()}

    @property
    def tokens(self) -> int:
        """The tokens of all splits together."""
        return sum(split.tokens for split in self.splits.values())


class BaseFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run that was fine-tuned."""

    name: str
    path: str
    weights: str | None
    lineage: Lineage


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The size of the model."""

    parameters: int


class WeightFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The weights that were written last."""

    step: int
    loss: float | None = None
    sha256: str | None = None
    head: str | None = None
    """The hash of tensors that are kept beside the model's."""


class ChatFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How answers end."""

    stop: list[str] = []
    template: str | None = None


class ImportFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an imported model came from."""

    name: str | None = None
    architecture: str | None = None
    files: dict[str, str] = {}
    notes: list[str] = []


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of `lineage.json`."""

    version: int = 0
    kind: str = "pretraining"
    """pretraining, import, or the name of a kind of fine-tuning."""
    tokenizer: TokenizerFacts
    model: ModelFacts
    data: DataFacts | None
    """None for a model that was imported without its text."""
    base: BaseFacts | None = None
    weights: WeightFacts | None = None
    """None while they are being written."""
    created: str | None = None
    command: list[str] = []
    machine: dict[str, Any] = {}
    documents: bool | None = None
    """Whether the model was shown documents, each ended by `<|endoftext|>`; None where the data tells."""
    begin: list[int] | None = None
    """The ids with which a prompt begins. None: as its documents say."""
    adapter: dict[str, Any] | None = None
    """The settings of LoRA, where the run is an adapter of its base."""
    chat: ChatFacts | None = None
    labels: list[str] | None = None
    """The labels of a classifier."""
    source: ImportFacts | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.version <= VERSION:
            raise ValueError(f"a newer version of GlassGPT wrote it, in format {self.version}")

    @property
    def is_imported(self) -> bool:
        """Whether the model was trained elsewhere."""
        return self.kind == "import"

    @property
    def weights_hash(self) -> str | None:
        """The hash that identifies the weights of a finished run, or its adapter."""
        return self.weights.sha256 if self.weights else None

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file: the keys that every run has, then those that are not at their defaults."""
        first = {"version": self.version, "kind": self.kind, "data": None, "base": None, "weights": None}
        return first | msgspec.to_builtins(self)


class SampleFacts(TypedDict):
    """A prompt, and its continuations before and after a fine-tuning."""

    prompt: str
    before: str
    after: str
    ended: NotRequired[bool | None]
    """Whether the later one ended by its end token. None for what need not end; older versions did not note it."""


class Comparison(TypedDict):
    """All of `comparison.json`."""

    numbers: dict[str, tuple[float, float]]
    samples: list[SampleFacts]


MOST_LABELS = 60
"""The most labels of which a confusion matrix is kept and shown; with more it is not readable."""


class Confusion(msgspec.Struct, frozen=True):
    """All of `confusion.json`: `counts[i][j]` held-out texts of label i were predicted as label j."""

    labels: list[str]
    counts: list[list[int]]

    def __post_init__(self) -> None:
        size = len(self.labels)
        if not 2 <= size <= MOST_LABELS or [len(row) for row in self.counts] != [size] * size:
            raise ValueError("it does not hold one count for each pair of labels")
        if any(not 0 <= count < 2**53 for row in self.counts for count in row):
            raise ValueError("a count is negative or too large")
