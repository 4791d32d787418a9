"""`glassgpt eval`: a run's loss on text, and what it is good at, by probes and by lm-eval tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from glassgpt.cli import loss, questions
from glassgpt.cli.given import Given
from glassgpt.cli.options import TextField
from glassgpt.cli.terminal import make_console, print_table, say, say_form, shown
from glassgpt.idle import OnlyWith, refuse_idle

if TYPE_CHECKING:
    from glassgpt.cli.loss import Asked
    from glassgpt.cli.questions import Questions

ONLY_WITH = (
    OnlyWith(("force",), "json", test=lambda said: said["json"]),
    *loss.ONLY_WITH,
    *questions.ONLY_WITH,
)


def eval_(
    run: str = "latest",
    *sources: str,
    tasks: tuple[str, ...] = (),
    split: str = "validation",
    stories: int = 0,
    moved: Annotated[tuple[str, ...], Parameter(name="--corpus.sources")] = (),
    text_field: TextField = None,
    include: Path | None = None,
    samples: int = 20,
    limit: int | None = None,
    few_shots: int | None = None,
    seed: int = 0,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    weights: Literal["as-saved", "bfloat16", "int8", "auto"] = "as-saved",
    device: str = "auto",
    given: Given = (),
) -> None:
    """Measure a run's loss on its validation text or on other text, then ask it questions with right answers.

    The questions are about grammar, copying, recall and memorisation, or they are lm-eval tasks.

    Args:
        run: A run's name or path, or latest.
        sources: Text to measure on instead of the run's own, or records of the run's kind of fine-tuning; all of it is
            used.
        tasks: Probes (grammar, induction, recall, memorisation, tinytales) and lm-eval tasks by name, separated by
            commas; `all` for all probes that fit the run. When left out: all, but none if SOURCES are named.
        split: Which split of the run's own text: train, validation or test.
        stories: Number of stories to write and to score with the built-in grammar.
        moved: Where the run's own text is now, if it was moved; it must be the same.
        text_field: The field of .jsonl, .json, .csv and .parquet records that holds the text.
        include: A folder with your own lm-eval tasks; all of them are used when none is named.
        samples: Number of texts that the run writes for memorisation and tinytales.
        limit: Number of questions of each lm-eval task; all when left out.
        few_shots: Number of solved examples before each question of an lm-eval task.
        seed: The same seed gives the same random draws.
        json: Also write the results to this file.
        force: Overwrite an existing file.
        weights: int8 stores the weights in 8 bits, bfloat16 in 16: less memory, and a large model writes faster. auto
            takes what this machine writes fastest with; it is measured once.
        device: auto, cpu, cuda or mps.
    """
    from glassgpt.runs.directory import find_run

    find_run(run)  # before torch is imported: it takes seconds
    asked = loss.Asked(sources, moved, split, text_field, stories, given)
    further = questions.questions(
        tasks,
        folder=include,
        names_text=bool(sources),
        samples=samples,
        limit=limit,
        few_shots=few_shots,
        seed=seed,
    )
    said = {"SOURCES": sources, "json": json, "stories": stories, **further.facts()}
    refuse_idle(said, given, ONLY_WITH)
    asked.refuse_wrong()
    further.refuse_wrong()
    if json is not None:
        _refuse_overwriting(json, run, asked, include, force)
    _answer(run, asked, further, json=json, weights=weights, device=device)


def _refuse_overwriting(json: Path, run: str, asked: Asked, include: Path | None, force: bool) -> None:
    from glassgpt.corpus.sources import open_sources
    from glassgpt.outputs import refuse_overwriting
    from glassgpt.runs.directory import find_run

    def inputs() -> list[Path]:
        named = [*asked.sources, *asked.moved]
        texts = open_sources(named, text_field=asked.text_field) if named else []
        return [find_run(run).path, *([include] if include else []), *(Path(text.name) for text in texts)]

    refuse_overwriting(json, option="--json", inputs=inputs, force=force)


def _answer(
    name: str,
    asked: Asked,
    further: Questions,
    *,
    json: Path | None,
    weights: Literal["as-saved", "bfloat16", "int8", "auto"],
    device: str,
) -> None:
    """Measure, ask, print, and write to `json`: the loss first, since it needs no more than the text."""
    from glassgpt.device import pick_device, set_threads
    from glassgpt.runs.opening import open_run

    set_threads(0)
    run = open_run(name, device=pick_device(device), weights=weights)
    say_form(run.model, weights)
    console = make_console()
    with console.status("Loading tasks ..."):
        tasks = further.load()
    with console.status("Measuring the loss ..."):
        found = asked.measure_or_say(run, alone=not further.named)
    facts: dict[str, Any] = {"run": run.directory.name, "loss": None}
    notes: list[str] = []
    if isinstance(found, str):
        notes.append(f"No loss: {found}")
    else:
        loss.show_loss(run, found)
        facts["loss"] = found.to_dict()
    with console.status("Asking ..."):
        story_score = asked.write_stories(run, further.seed)
        scores, further_notes = further.ask(run, tasks, asked.moved)
    if isinstance(found, str):
        console.print(f"[bold]{shown(run.directory.name)}[/]")
    if story_score is not None:
        loss.show_stories(story_score)
        facts["stories"] = loss.story_facts(story_score)
    if scores:
        console.print()
        print_table(console, questions.table(scores))
    notes += further_notes
    for line in notes:
        say(console, line, style="dim")
    if json is not None:
        _write(json, facts, scores, notes)


def _write(path: Path, facts: dict[str, Any], scores: Sequence[Any], notes: Sequence[str]) -> None:
    import json
    from dataclasses import asdict

    from glassgpt import files

    content = {
        **facts,
        "scores": [asdict(score) for score in scores],
        "left_out": [note.removeprefix("Left out: ") for note in notes],
    }
    files.write_text(path, json.dumps(content, indent=2) + "\n")
    say(make_console(), f"Written to {path}")
