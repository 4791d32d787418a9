"""From ids to text events to text: what a person sees while a model writes.

Each layer uses only the one below: the scheduler gives ids, a `Writer` turns them into `TextEvent`s as soon as their
text is certain, `stream` does that for some prompts, and `complete` joins the events into strings. Text is held back
while it could still change: in the middle of a UTF-8 character, or at the beginning of a stop string.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from glassgpt.errors import GenerationError, GlassGPTError
from glassgpt.generation.engines import Engine
from glassgpt.generation.requests import Chosen, Request, Written
from glassgpt.generation.sampling import SamplingConfig
from glassgpt.generation.scheduler import Scheduler
from glassgpt.generation.window import window_start
from glassgpt.idle import OnlyWith
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating
from glassgpt.tokenizers.contract import Tokenizer, as_fast
from glassgpt.tokenizers.fast import FastTokenizer
from glassgpt.tokenizers.stream import StreamDecoder

# No character reaches further back, and what a token shows depends on even fewer.
CONTEXT_TOKENS = 8


@dataclass(frozen=True)
class GenerationConfig(SamplingConfig):
    """How a text is continued: how tokens are chosen, and where to stop."""

    max_tokens: int = 200
    """Maximum number of tokens to write."""
    stop: tuple[str, ...] = ()
    """Stop before the first of these strings."""
    seed: int | None = None
    """Seed of the draws; None draws differently each time."""

    ONLY_WITH: ClassVar[tuple[OnlyWith, ...]] = (
        *SamplingConfig.ONLY_WITH,
        OnlyWith(("seed",), "temperature", test=lambda chosen: chosen.temperature > 0, use="0.8"),
    )

    def sampling(self) -> SamplingConfig:
        """Return how tokens are chosen, alone."""
        return SamplingConfig(**{each.name: getattr(self, each.name) for each in fields(SamplingConfig)})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens < 1:
            raise GenerationError("max_tokens must be at least 1.")
        if isinstance(self.stop, str):
            raise GenerationError(f"stop must be several strings, not one: write ({self.stop!r},).")
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise GenerationError(f"seed is {self.seed}; it must be from 0 to 2**64 - 1.")


def unseen_part(what: str, length: int, context_length: int) -> str | None:
    """Return a sentence that says how much of a prompt of `length` tokens the model does not see, or None."""
    start = window_start(length, context_length)
    if not start:
        return None
    return (
        f"{what} has {length:,} tokens, and the model looks back at {context_length:,} at most: the first {start:,} "
        "are left out."
    )


@dataclass(frozen=True, slots=True)
class TextEvent:
    """New text of one continuation.

    `finished` is "" until its last event: "end" (an id that ends it), "stop" (a stop string), "length" or "error".
    `note` is a sentence for the person who waits, such as a change of threads. It is not part of the text.
    """

    index: int
    text: str
    finished: str = ""
    note: str = ""
    tokens: tuple[Chosen, ...] = ()
    """The ids chosen since the last event with their log-probabilities, where those were asked for."""
    prompt: tuple[Chosen, ...] | None = None
    """The prompt's ids with their log-probabilities, once, where those were asked for."""
    written: int = 0
    """The number of ids written since the last event, the one that ends the text included."""
    error: GlassGPTError | None = None
    """What went wrong with this request alone, where `finished` is "error"."""


class Writer:
    """Requests of one model that are written together, as text. They join and leave between any two tokens.

    The model must not be in training mode. Not thread-safe. The options are those of `Scheduler`.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: FastTokenizer,
        *,
        engine: Engine = "torch",
        use_cache: bool = True,
        memory: int | None = None,
        prefix_memory: int = 0,
    ) -> None:
        self._tokenizer = tokenizer
        self._scheduler = Scheduler(
            model,
            engine=engine,
            use_cache=use_cache,
            memory=memory,
            prefix_memory=prefix_memory,
            adapt_threads=True,
        )
        self._rows: dict[int, _Row] = {}

    def add(self, request: Request, *, stop: Sequence[str] = ()) -> int:
        """Take a request, whose text ends before the first of the strings `stop`; return its number, from 0 on.

        Raises `GenerationError` for a request that can never be written, `ModelError` for ids that the model does not
        know.
        """
        number = self._scheduler.add(request)
        self._rows[number] = _Row(number, self._tokenizer, request.ids, stop)
        return number

    def cancel(self, number: int) -> None:
        """End a request at once; no event follows. A number that is not there is ignored."""
        if self._rows.pop(number, None) is not None:
            self._scheduler.cancel(number)

    def step(self) -> list[TextEvent]:
        """Add a token to each text that is being written; return the text that has become certain."""
        written = self._scheduler.step()
        events: list[TextEvent] = []
        if (note := self._scheduler.note()) and written:
            events.append(TextEvent(written[0].number, "", note=note))
        for one in written:
            row = self._rows[one.number]
            event = row.push(one)
            if event is not None:
                events.append(event)
            if row.finished:
                del self._rows[one.number]
                if not one.finished:
                    self._scheduler.cancel(one.number)
        return events

    @property
    def waiting(self) -> int:
        """The number of requests that have not begun, because there is no memory for their caches."""
        return self._scheduler.waiting

    @property
    def active(self) -> int:
        """The number of requests that are being read or written."""
        return self._scheduler.active

    @property
    def busy(self) -> bool:
        """Whether there is anything to do for `step`."""
        return self._scheduler.busy


def stream(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | Sequence[str],
    config: GenerationConfig,
    *,
    count: int = 1,
    documents: bool = True,
    begin: Sequence[int] | None = None,
    use_cache: bool = True,
    engine: Engine = "torch",
) -> Iterator[TextEvent]:
    """Yield the text of `count` continuations of `prompt` as it becomes certain, the prompt left out.

    Several prompts are continued together, `count` times each: event index i belongs to prompt i // count. A finished
    continuation costs nothing more. `documents` says that the model was trained on documents: `<|endoftext|>` begins
    and ends each. Otherwise (one long text) that token means nothing to the model, so it is neither put before the
    prompt nor written. `begin` holds the ids to put before each prompt instead, for a model that was trained with
    others. Raises `GenerationError` when a prompt has characters the tokenizer cannot represent, `TokenizerError` for a
    tokenizer of another library.
    """
    if count < 1:
        raise GenerationError(f"count is {count}: at least 1 continuation must be asked for.")
    tokenizer = as_fast(tokenizer)
    asked = [prompt] if isinstance(prompt, str) else prompt
    ids = [prompt_ids(tokenizer, text, documents=documents, begin=begin) for text in asked]
    prompts = [one for one in ids for _ in range(count)]
    exclude = never_written(tokenizer, documents=documents, vocab_size=model.config.vocab_size)
    yield from stream_after(
        model, tokenizer, prompts, config, exclude=exclude, use_cache=use_cache, engine=engine
    )


def stream_after(
    model: GPT,
    tokenizer: FastTokenizer,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    *,
    exclude: Sequence[int] = (),
    ends: Collection[int] = (),
    use_cache: bool = True,
    engine: Engine = "torch",
) -> Iterator[TextEvent]:
    """Yield the text that follows each prompt, given as ids, until `<|endoftext|>` or one of `ends`."""
    writer = Writer(model, tokenizer, engine=engine, use_cache=use_cache)
    with evaluating(model):
        for request in requests_for(tokenizer, prompts, config, exclude=exclude, ends=ends):
            writer.add(request, stop=config.stop)
        yield from events_of(writer)


def requests_for(
    tokenizer: FastTokenizer,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    *,
    exclude: Sequence[int] = (),
    ends: Collection[int] = (),
) -> Iterator[Request]:
    """Yield a request for each prompt, given as ids; each draws from its own stream of the seed."""
    sampling = config.sampling()
    for index, ids in enumerate(prompts):
        yield Request(
            ids,
            sampling,
            max_tokens=config.max_tokens,
            seed=config.seed,
            stream=index,
            ends=frozenset({tokenizer.end_of_text, *ends}),
            exclude=exclude,
        )


def events_of(writer: Writer) -> Iterator[TextEvent]:
    """Yield the events of all requests of a writer until none is left; raise the error of one that fails."""
    while writer.busy:
        for event in writer.step():
            if event.error is not None:
                raise event.error
            yield event


def complete(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | Sequence[str],
    config: GenerationConfig,
    *,
    count: int = 1,
    documents: bool = True,
    engine: Engine = "auto",
) -> list[str]:
    """Return `count` continuations of `prompt`, or of each of several prompts, without the prompt itself."""
    events = stream(model, tokenizer, prompt, config, count=count, documents=documents, engine=engine)
    return joined(events, prompt, count)


def joined(events: Iterable[TextEvent], prompt: str | Sequence[str], count: int) -> list[str]:
    """Return the whole text of each continuation whose events `stream` yields for `prompt` and `count`."""
    texts = [""] * count * (1 if isinstance(prompt, str) else len(prompt))
    for event in events:
        texts[event.index] += event.text
    return texts


def never_written(tokenizer: FastTokenizer, *, documents: bool, vocab_size: int = 0) -> list[int]:
    """Return the ids that stand for no text: the unknown token, the end of text where there are no documents, and the
    ids of a model that its tokenizer does not have."""
    unknown = [] if tokenizer.unknown_id is None else [tokenizer.unknown_id]
    beyond = range(tokenizer.vocab_size, vocab_size)
    return [*unknown, *beyond] if documents else [*unknown, tokenizer.end_of_text, *beyond]


def prompt_ids(
    tokenizer: FastTokenizer, prompt: str, *, documents: bool, begin: Sequence[int] | None = None
) -> list[int]:
    """Return the input ids for a prompt: those of `begin`, then the prompt's own.

    An empty prompt is the beginning of a document, or of a line where there are no documents.
    """
    unknown = tokenizer.unknown(prompt)
    if unknown:
        shown = ", ".join(repr(item) for item in unknown[:8])
        raise GenerationError(
            f"The prompt has text that is not in this model's vocabulary: {shown}. Leave it out, or train with "
            "text that has it (a byte-level BPE tokenizer can represent any text)."
        )
    ids = tokenizer.encode(prompt)
    if begin is not None:
        return [*begin, *ids] or [tokenizer.end_of_text]
    if documents:
        return [tokenizer.end_of_text, *ids]
    line_end = [] if tokenizer.unknown("\n") else tokenizer.encode("\n")
    return ids or line_end or [tokenizer.end_of_text]


class _Row:
    """One continuation: decodes its ids, watches for stop strings, and knows when it is finished."""

    def __init__(
        self, index: int, tokenizer: FastTokenizer, prompt: Sequence[int], stop: Sequence[str]
    ) -> None:
        self.index = index
        self.finished = ""
        self._decoder = _decoder_after(tokenizer, prompt)
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self._tokens: list[Chosen] = []
        self._written = 0

    def push(self, written: Written) -> TextEvent | None:
        """Take what one step did; return an event if there is something to show or this was the end."""
        self.finished = written.finished
        if written.chosen is not None:
            self._tokens.append(written.chosen)
        self._written += written.id is not None
        if written.id is not None and written.finished != "end":
            self._held += self._decoder.push(written.id)
        if written.finished:
            self._held += self._decoder.flush()
        text = self._release()
        if not (text or self.finished or written.prompt):
            return None
        tokens, self._tokens = tuple(self._tokens), []
        count, self._written = self._written, 0
        return TextEvent(
            self.index,
            text,
            self.finished,
            tokens=tokens,
            prompt=written.prompt,
            written=count,
            error=written.error,
        )

    def _release(self) -> str:
        """Return the text that cannot change any more, cut at a stop string."""
        found = [self._held.find(stop) for stop in self._stop if stop in self._held]
        if found:
            self.finished = "stop"
            return self._held[: min(found)]
        keep = 0 if self.finished else _overlap(self._held, self._stop)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text


def _decoder_after(tokenizer: FastTokenizer, prompt: Sequence[int]) -> StreamDecoder:
    """Return a decoder that knows the preceding ids, so that the space before a first word is not lost."""
    decoder = StreamDecoder(tokenizer)
    if not tokenizer.joins_bytes:
        for id in prompt[-CONTEXT_TOKENS:]:
            decoder.push(id)
    return decoder


def _overlap(text: str, stops: Sequence[str]) -> int:
    """Return the length of the longest end of `text` that is the beginning of a stop string."""
    return max(
        (
            size
            for stop in stops
            for size in range(1, min(len(stop), len(text) + 1))
            if text.endswith(stop[:size])
        ),
        default=0,
    )
