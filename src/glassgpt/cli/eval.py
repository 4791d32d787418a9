"""`glassgpt eval`: what a run is good at, by probes and by lm-eval tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from glassgpt.cli.given import Given
from glassgpt.cli.terminal import make_console, print_table, say_if_not_faster, shown
from glassgpt.idle import OnlyWith, refuse_idle

if TYPE_CHECKING:
    from glassgpt.evaluation.score import Score, Texts
    from glassgpt.runs.config import RunConfig
    from glassgpt.runs.directory import RunDirectory


MOST_SAMPLES = 100_000
ONLY_WITH = (
    OnlyWith(("force",), "json", test=lambda said: said["json"]),
    OnlyWith(
        ("include", "limit", "few_shots"),
        "tasks",
        test=lambda said: said["asks_tasks"],
        use="TASK of lm-eval",
    ),
    OnlyWith(
        ("samples",),
        "tasks",
        test=lambda said: said["asks_all_probes"] or said["writes"],
        use="memorisation or tinytales",
    ),
    OnlyWith(
        ("seed",),
        "tasks",
        test=lambda said: said["asks_all_probes"] or said["asks_tasks"] or said["draws"],
        use="induction, memorisation, tinytales or TASK of lm-eval",
    ),
)


def eval_(
    run: str = "latest",
    *,
    tasks: tuple[str, ...] = (),
    include: Path | None = None,
    samples: int = 20,
    limit: int | None = None,
    few_shots: int | None = None,
    seed: int = 0,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    weights: Literal["as-saved", "int8"] = "as-saved",
    device: str = "auto",
    given: Given = (),
) -> None:
    """Ask a run questions with right answers: grammar, copying, recall, memorisation, or tasks of lm-eval.

    To measure its loss on text instead, use `glassgpt evaluate`.

    Args:
        run: A run's name or path, or latest.
        tasks: Probes (grammar, induction, recall, memorisation, tinytales) and lm-eval tasks by name, separated by
            commas. All probes that fit the run when none is named.
        include: A folder with your own lm-eval tasks; all of them are used when none is named.
        samples: Number of texts that the run writes for memorisation and tinytales.
        limit: Number of questions of each lm-eval task; all when left out.
        few_shots: Number of solved examples before each question of an lm-eval task.
        seed: The same seed gives the same random draws.
        json: Also write the results to this file.
        force: Overwrite an existing file.
        weights: int8 rounds each row of a matrix to 8 bits: less memory and, on x86, less time.
        device: auto, cpu, cuda or mps.
    """
    from glassgpt.device import pick_device, set_threads
    from glassgpt.errors import EvaluationError
    from glassgpt.evaluation.harness import local_tasks, run_tasks
    from glassgpt.evaluation.score import Subject
    from glassgpt.evaluation.suite import PROBES, ask_all
    from glassgpt.outputs import refuse_overwriting
    from glassgpt.runs.directory import find_run
    from glassgpt.runs.opening import open_run

    names = list(dict.fromkeys(name.strip() for part in tasks for name in part.split(",") if name.strip()))
    probes = [name for name in names if name in PROBES]
    others = [name for name in names if name not in PROBES]
    said = {
        "json": json,
        "tasks": names,
        "asks_tasks": others or (include and not names),
        "asks_all_probes": not names,
        "writes": any(PROBES[name].writes for name in probes),
        "draws": any(PROBES[name].draws for name in probes),
    }
    refuse_idle(said, given, ONLY_WITH)
    if samples < 1:
        raise EvaluationError(f"--samples is {samples}: the run must write at least 1 text.")
    if samples > MOST_SAMPLES:
        raise EvaluationError(f"--samples is {samples:,}: at most {MOST_SAMPLES:,} texts are kept in memory.")
    if seed < 0:
        raise EvaluationError(f"--seed is {seed}: it must be at least 0.")
    if limit is not None and limit < 1:
        raise EvaluationError(f"--limit is {limit}: a task needs at least 1 question.")
    if few_shots is not None and few_shots < 0:
        raise EvaluationError(f"--few-shots is {few_shots}: it must be at least 0.")
    if json is not None:
        read = [find_run(run).path, *([include] if include else [])]
        refuse_overwriting(json, option="--json", inputs=lambda: read, force=force)
    set_threads(0)
    opened = open_run(run, device=pick_device(device), weights=weights)
    say_if_not_faster(opened.model, weights)
    if include and not names:
        others = local_tasks(include)
    subject = Subject(opened, lambda: _texts(opened.config, opened.directory), seed, samples)
    console = make_console()
    found: list[Score] = []
    notes: list[str] = []
    cut: list[str] = []
    with console.status("Asking ..."):
        if others:  # first, because an unknown name should be reported at once
            found += run_tasks(
                opened,
                others,
                include=include,
                limit=limit,
                few_shots=few_shots,
                seed=seed,
                known=list(PROBES),
                say=cut.append,
            )
        if probes or not names:
            answers = list(ask_all(subject, probes))
            notes = [answer for answer in answers if isinstance(answer, str)]
            found = [answer for answer in answers if not isinstance(answer, str)] + found
    console.print(f"[bold]{shown(opened.directory.name)}[/]")
    print_table(console, _table(found))
    for line in (*(f"Left out: {note}" for note in notes), *cut):
        console.print(shown(line), style="dim")
    if json:
        _write(json, opened.directory.name, found, [*notes, *cut])


def _texts(config: RunConfig, directory: RunDirectory) -> Texts:
    from glassgpt.errors import EvaluationError
    from glassgpt.evaluation.score import Texts
    from glassgpt.pretraining.data import prepare_data, refuse_other_data
    from glassgpt.pretraining.places import find_text
    from glassgpt.runs.reading import read_lineage

    if not read_lineage(directory).get("data"):
        raise EvaluationError(f"The text that {directory.name} was trained on is not known: it was imported.")
    data = prepare_data(find_text(directory, config))
    refuse_other_data(directory, data)
    return Texts(data.shards.split("train"), data.shards.split("validation"))


def _table(scores: Sequence[Score]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("what is measured")
    for name in ("value", "±", "chance", "of"):
        table.add_column(name, justify="right", no_wrap=True)
    for score in scores:
        chance = "" if score.chance is None else f"{score.chance:.3f}"
        error = "" if score.error is None else f"{score.error:.3f}"
        table.add_row(score.name, score.measures, f"{score.value:.3f}", error, chance, f"{score.count:,}")
        for name, value in score.details.items():
            table.add_row("", f"  {name}", _number(value), style="dim")
    return table


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _write(path: Path, run: str, scores: Sequence[Score], notes: Sequence[str]) -> None:
    import json
    from dataclasses import asdict

    from glassgpt import files

    content = {"run": run, "scores": [asdict(score) for score in scores], "left_out": list(notes)}
    files.write_text(path, json.dumps(content, indent=2) + "\n")
    make_console(soft_wrap=True).print(f"Written to {shown(path)}")
