"""Runs tasks of EleutherAI's lm-eval, the known ones by name and those in a user's folder, on a run.

A task is a YAML file that says which data to use, what to ask and how to count. `--include FOLDER` adds the tasks of a
folder. Data paths in such a file are relative to that folder, so a task and its .jsonl can move together:

    task: animals
    dataset_path: json
    dataset_kwargs: {data_files: {test: animals.jsonl}}
    test_split: test
    output_type: multiple_choice
    doc_to_text: "{{question}}"
    doc_to_choice: "{{choices}}"
    doc_to_target: "{{answer}}"

Tasks of a folder never use the network. Those of lm-eval fetch their data from the Hugging Face hub once.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from glassgpt.commands import command
from glassgpt.errors import EvaluationError, OfflineError, did_you_mean, require
from glassgpt.evaluation.score import Score
from glassgpt.runs.opening import Run

PREFERRED = ("acc_norm", "acc", "exact_match", "bits_per_byte", "byte_perplexity", "word_perplexity")
"""The order in which a task's numbers are shown, where it has several."""
CHOOSING = ("acc", "acc_norm")
BOOTSTRAP = 1000
"""Bootstrap draws for the standard error of a number without a formula for it."""


@dataclass(frozen=True)
class Tasks:
    """Loaded tasks: those of a user's folder, and lm-eval's own. None where there are none."""

    local: Any = None
    known: Any = None
    folder: Path | None = None


def load_tasks(names: Sequence[str], *, include: Path | None = None, known: Sequence[str] = ()) -> Tasks:
    """Load tasks and their data by name; with `include`, tasks of that folder come first.

    `known` are further names that a misspelt one may have meant. Raises `MissingExtraError` without lm-eval,
    `EvaluationError` for a task that is unknown or cannot be loaded, `OfflineError` when a task's data cannot be
    fetched.
    """
    local = local_tasks(include) if include else []
    here = [name for name in names if name in local]
    elsewhere = [name for name in names if name not in local]
    ours = theirs = None
    if here and include:
        with _offline(), contextlib.chdir(include):
            ours = _load(_manager(Path(), defaults=False), here)
    if elsewhere:
        manager = _manager(include, defaults=True)
        _refuse_unknown(elsewhere, [*manager.all_tasks, *known])
        theirs = _load(manager, elsewhere)
    return Tasks(ours, theirs, include)


def ask_tasks(
    run: Run,
    tasks: Tasks,
    *,
    limit: int | None = None,
    few_shots: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> list[Score]:
    """Return a score for each task; for a group, one for each of its tasks, and one for the group if it has one.

    `limit` is the number of questions to ask from each task, and `few_shots` the number of solved ones before each
    question. `say` gets a line where prompts are longer than the model's context.
    """
    scores = []
    if tasks.local is not None and tasks.folder is not None:
        with _offline(), contextlib.chdir(tasks.folder):
            scores += _ask(run, tasks.local, limit, few_shots, seed, say)
    if tasks.known is not None:
        scores += _ask(run, tasks.known, limit, few_shots, seed, say)
    return scores


def local_tasks(folder: Path) -> list[str]:
    """Return the names of the tasks and groups in a folder. Raises `EvaluationError` where there are none."""
    if not folder.is_dir():
        raise EvaluationError(
            f"There is no folder {folder}. --include takes a folder with task files (.yaml), each beside its data."
        )
    names = _manager(folder, defaults=False).all_tasks
    if not names:
        raise EvaluationError(
            f"{folder} holds no task. A task is a .yaml file with `task:` and its name. An example:  "
            + command("help", "evaluation")
        )
    return names


def _manager(folder: Path | None, *, defaults: bool) -> Any:
    """Return lm-eval's list of tasks: those of a folder, its own 14,000 (which takes ten seconds), or both."""
    module = require("lm_eval.tasks", extra="eval", purpose="run tasks that are not probes of GlassGPT")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return module.TaskManager(include_path=str(folder) if folder else None, include_defaults=defaults)


def _refuse_unknown(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"There is no task {name!r}, neither among GlassGPT's probes nor among lm-eval's tasks."
                f"{did_you_mean(name, known)} Tasks of your own are found with --include FOLDER."
            )


def _load(manager: Any, names: Sequence[str]) -> Any:
    """Return lm-eval's tasks by name, with their data."""
    try:
        return manager.load(list(names))
    except ConnectionError as error:  # `datasets` gets it from `requests`, or raises it when it is offline
        raise OfflineError(
            f"The data of {', '.join(names)} cannot be fetched from the Hugging Face hub: {error}. Once fetched "
            "they are kept. Tasks of your own, with --include FOLDER, need no network."
        ) from error
    except Exception as error:  # a task file may contain anything
        raise EvaluationError(
            f"The data or settings of {', '.join(names)} cannot be loaded: {_one_line(error)}"
        ) from error


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _ask(
    run: Run,
    loaded: Any,
    limit: int | None,
    few_shots: int | None,
    seed: int,
    say: Callable[[str], None],
) -> list[Score]:
    from lm_eval.evaluator import evaluate

    from glassgpt.evaluation.harness_model import HarnessModel

    for task in loaded["tasks"].values():
        fixed = task.get_config("num_fewshot")
        if fixed != 0 and few_shots is not None:  # a task that sets 0 keeps it
            task.set_config(key="num_fewshot", value=few_shots)
        elif fixed is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
    model = HarnessModel(run)
    found: Any = evaluate(model, loaded, limit=limit, bootstrap_iters=BOOTSTRAP, log_samples=False)
    if cut := model.left_out():
        say(cut)
    counts = found["n-samples"]
    return [
        _score(name, numbers, counts.get(name, {}).get("effective", 0), loaded["tasks"].get(name))
        for name, numbers in found["results"].items()
        if _metrics(numbers)
    ]


def _metrics(numbers: dict[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Return a task's numbers as name: (value, standard error), the one to show first at the front."""
    found = {}
    for key, value in numbers.items():
        metric, _, filter_ = key.partition(",")
        if filter_ and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = numbers.get(f"{metric}_stderr,{filter_}")
            name = metric if filter_ == "none" else f"{metric} ({filter_})"
            found[name] = (float(value), error if isinstance(error, float) else None)
    order = {name: place for place, name in enumerate(PREFERRED)}
    return dict(sorted(found.items(), key=lambda item: order.get(item[0].split()[0], len(order))))


def _score(name: str, numbers: dict[str, Any], count: int, task: Any) -> Score:
    metrics = _metrics(numbers)
    first = next(iter(metrics))
    value, error = metrics[first]
    details = {metric: number for metric, (number, _) in metrics.items() if metric != first}
    return Score(name, f"lm-eval, {first}", value, _chance(task, first), error, count, details)


def _chance(task: Any, metric: str) -> float | None:
    """Return the mean of 1 / number of choices, for questions with choices."""
    if task is None or task.OUTPUT_TYPE != "multiple_choice" or metric not in CHOOSING:
        return None
    return fmean(1 / choices for choices in Counter(each.doc_id for each in task.instances).values())


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep the Hugging Face libraries offline during the block; they read the environment only when imported."""
    import datasets.config
    import huggingface_hub.constants

    modules: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [module.HF_HUB_OFFLINE for module in modules]
    metrics = os.environ.get("HF_EVALUATE_OFFLINE")
    os.environ["HF_EVALUATE_OFFLINE"] = "1"
    try:
        for module in modules:
            module.HF_HUB_OFFLINE = True
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value
        os.environ.pop("HF_EVALUATE_OFFLINE")
        if metrics is not None:
            os.environ["HF_EVALUATE_OFFLINE"] = metrics
