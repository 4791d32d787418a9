"""How this machine writes fastest with a model of some shape: which engine, and with how many threads.

It is measured with steps of the model itself, once for a machine and a shape, and kept with the machine's other
measurements. Nobody waits for it who only wants a text: without an answer, small steps take one thread, others all, and
the loops are used where they can be had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from glassgpt.device import available_cores
from glassgpt.generation.decoder import Decoder
from glassgpt.generation.engines import Decodes, loops_can_be_had
from glassgpt.machine.compare import compare
from glassgpt.machine.kept import keep, measuring_is_off, recall
from glassgpt.machine.load import QUIET, used_by_others
from glassgpt.model.forms import form_of
from glassgpt.model.gpt import GPT
from glassgpt.model.modes import evaluating

MANY = 16
"""Rows of the measurement that stands for several texts."""
SECONDS = 0.6
"""The longest time for each comparison."""
STEPS_SECONDS = 0.004
"""Steps are measured in groups that take about this long."""


@dataclass(frozen=True)
class Pace:
    """What is fastest, and the tokens per second that one text and `MANY` texts were written with."""

    engine: str
    """"loops" or "torch"."""
    threads_for_one: int
    threads_for_many: int
    one: float
    many: float

    def threads(self, rows: int) -> int:
        """Return the number of threads for a step of some rows."""
        return self.threads_for_one if rows * rows < MANY else self.threads_for_many


def known_pace(model: GPT) -> Pace | None:
    """Return what was measured for models of this shape on this machine, or None."""
    if measuring_is_off() or model.token_embedding.weight.device.type != "cpu":
        return None
    return _recalled(question_about(model))


@lru_cache(maxsize=64)
def _recalled(question: str) -> Pace | None:
    found = recall(question)
    if found is None:
        return None
    try:
        numbers = found.figures
        most = available_cores()
        of_one, of_many = (int(numbers[name]) for name in ("threads for one", "threads for many"))
        return Pace(
            found.choice,
            max(1, min(of_one, most)),
            max(1, min(of_many, most)),
            numbers["tokens/s, one"],
            numbers["tokens/s, many"],
        )
    except (KeyError, ValueError):
        return None


def measure_pace(model: GPT, *, seconds: float = SECONDS) -> Pace:
    """Measure what is fastest with a model on the CPU, in a few seconds at most; keep it if the machine is quiet."""
    others = used_by_others()
    makers: dict[str, Callable[[int], Decodes]] = {"torch": lambda rows: Decoder(model, rows)}
    if loops_can_be_had(model):
        from glassgpt.generation.loop_engine import LoopDecoder

        makers = {"loops": lambda rows: LoopDecoder(model, rows), **makers}
    place = model.config.context_length // 2
    with evaluating(model):
        best = {
            (engine, rows): _best_threads(make(rows), [place] * rows, seconds)
            for engine, make in makers.items()
            for rows in (1, MANY)
        }
    # The loops are the usual engine; torch has to be faster for one text and for many.
    engine = next(iter(makers))
    if all(best["torch", rows][1] < best[engine, rows][1] for rows in (1, MANY)):
        engine = "torch"
    (of_one, one), (of_many, many) = best[engine, 1], best[engine, MANY]
    pace = Pace(engine, of_one, of_many, 1 / one, MANY / many)
    if max(others, used_by_others()) <= QUIET:
        keep(
            question_about(model),
            engine,
            **{
                "threads for one": of_one,
                "threads for many": of_many,
                "tokens/s, one": pace.one,
                "tokens/s, many": pace.many,
            },
        )
        _recalled.cache_clear()
    return pace


def steps_in_a_group(decoder: Decodes, places: list[int]) -> int:
    """Return how many steps of one thread, with rows at some places, take about `STEPS_SECONDS`."""
    single = group_of_steps(decoder, places, 1, 1)
    return max(
        1, round(STEPS_SECONDS / max(compare(single, single, seconds=0.0, most=2).usual_seconds, 1e-6))
    )


def group_of_steps(decoder: Decodes, places: list[int], threads: int, count: int) -> Callable[[], None]:
    """Return what takes `count` steps with rows at some places."""
    ids = [0] * len(places)

    def take() -> None:
        for _ in range(count):
            decoder.step(ids, places, threads)

    return take


def _best_threads(decoder: Decodes, places: list[int], seconds: float) -> tuple[int, float]:
    """Return the best number of threads for a step with rows at some places, and its seconds."""
    all, count = available_cores(), steps_in_a_group(decoder, places)
    found = compare(
        group_of_steps(decoder, places, all, count),
        group_of_steps(decoder, places, 1, count),
        lead=1.0,
        seconds=seconds,
    )
    if all == 1 or found.ratio > 1.0:
        return 1, found.other_seconds / count
    return all, found.usual_seconds / count


def question_about(model: GPT) -> str:
    """Return what names a shape, and how its numbers are stored."""
    config = model.config
    kinds = "+".join(
        sorted({str(weight.dtype).removeprefix("torch.") for weight in model.state_dict().values()})
    )
    if (form := form_of(model)) != "as-saved":
        kinds += f"+{form}"
    return (
        f"writing {config.n_layer}x{config.n_embd} heads={config.n_head}/{config.kv_heads}x{config.head_dim} "
        f"mlp={config.activation}{config.mlp_width} words={config.vocab_size} context={config.context_length} {kinds}"
    )
