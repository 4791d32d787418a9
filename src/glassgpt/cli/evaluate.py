"""`glassgpt evaluate`: how well a run predicts its validation text, or any other text."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from glassgpt.cli.given import Given
from glassgpt.cli.terminal import make_console, say_if_not_faster, shown
from glassgpt.idle import OnlyWith, refuse_idle

MOST_STORIES = 1_000_000
ONLY_WITH = (
    OnlyWith(("split",), "SOURCES", ((),)),
    OnlyWith(("text_field",), "SOURCES", test=lambda said: said["SOURCES"]),
)


def evaluate(
    run: str = "latest",
    *sources: str,
    moved: Annotated[tuple[str, ...], Parameter(name="--corpus.sources")] = (),
    split: str = "validation",
    stories: int = 0,
    weights: Literal["as-saved", "int8"] = "as-saved",
    device: str = "auto",
    text_field: Annotated[str | None, Parameter(name=["--text-field", "--corpus.text-field"])] = None,
    given: Given = (),
) -> None:
    """Measure a run's loss on all of its validation text, or on other text.

    `glassgpt eval` shows what it is good at, question by question.

    Args:
        run: A run's name or path, or latest.
        sources: Text to measure on instead of the run's own; all of it is used.
        moved: Where the run's own text is now, if it was moved; it must be the same.
        split: Which split of the run's own text: train, validation or test.
        stories: Number of stories to write and to score with the built-in grammar.
        weights: int8 rounds each row of a matrix to 8 bits: less memory and, on x86, less time.
        device: auto, cpu, cuda or mps.
        text_field: The field of .jsonl, .json, .csv and .parquet records that holds the text.
    """
    from glassgpt.corpus.sources import refuse_idle_field
    from glassgpt.dataset.shards import SPLITS
    from glassgpt.device import pick_device, set_threads
    from glassgpt.errors import ConfigError, did_you_mean
    from glassgpt.evaluation.loss import refuse_no_figure
    from glassgpt.evaluation.stories import score_run
    from glassgpt.pretraining.data import held_in, prepare_data, prepare_whole, refuse_other_data
    from glassgpt.pretraining.places import find_text
    from glassgpt.pretraining.run import measure_split
    from glassgpt.runs.opening import open_run
    from glassgpt.tokenizers.special import unknown_line

    refuse_idle({"SOURCES": sources}, given, ONLY_WITH)
    if text_field is not None:
        refuse_idle_field(sources)
    if split not in SPLITS:
        raise ConfigError(
            f"There is no split {split!r}.{did_you_mean(split, SPLITS)} Use {', '.join(SPLITS)}."
        )
    if not 0 <= stories <= MOST_STORIES:
        raise ConfigError(f"--stories is {stories:,}: it must be from 0 to {MOST_STORIES:,}.")
    if sources and moved:
        raise ConfigError(
            "--corpus.sources says where the run's own text is now, but another text is named to measure on. Give "
            "only one of the two."
        )
    set_threads(0)
    opened = open_run(run, device=pick_device(device), weights=weights)
    say_if_not_faster(opened.model, weights)
    console = make_console()
    config = opened.config
    if sources:
        field = config.corpus.text_field if text_field is None else text_field
        config = dataclasses.replace(
            config, corpus=dataclasses.replace(config.corpus, sources=sources, text_field=field)
        )
        tokens = prepare_whole(config, opened.directory.tokenizer)
    else:
        data = prepare_data(find_text(opened.directory, config, moved, ask="evaluate"))
        refuse_other_data(opened.directory, data)
        tokens = held_in(data, split)
    result = measure_split(opened.model, opened.tokenizer, opened.config, tokens, most_tokens=sys.maxsize)
    where = ", ".join(sources) if sources else f"its {split} text"
    refuse_no_figure(result, opened.tokenizer.kind, where)
    console.print(f"[bold]{shown(opened.directory.name)}[/] on {shown(where)}")
    console.print(f"  loss           {result.loss:.4f} nats a token")
    perplexity = "too large a number" if result.perplexity is None else f"{result.perplexity:,.3f}"
    console.print(f"  perplexity     {perplexity}")
    console.print(f"  bits per byte  {result.bits_per_byte:.4f}")
    console.print(f"  tokens         {result.tokens:,}")
    if result.unknown:
        console.print(
            f"  unknown        {unknown_line(result.unknown, result.tokens, opened.tokenizer.kind)}"
        )
        console.print("                 Each of their bytes counts as 8 bits in the bits per byte.")
    if stories:
        _, score = score_run(opened, count=stories)
        console.print(
            f"  stories        {score.valid} of {score.total} valid under the grammar, {score.new} of them new"
        )
