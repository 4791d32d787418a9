"""The real lm-eval over HTTP gives the numbers that `glassgpt eval` gives for the same tasks."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval")

import datasets.config
from lm_eval.evaluator import evaluate
from lm_eval.models.openai_completions import LocalCompletionsAPI

from glassgpt.evaluation.harness import ask_tasks, load_tasks
from glassgpt.evaluation.harness_model import HarnessModel
from glassgpt.interop.exports import export_run
from glassgpt.runs.opening import Run, open_run
from tests.fixtures.tasks import write_task
from tests.serving.conftest import CONTEXT, listening

QUESTIONS = [
    {"question": "the cat", "choices": [" sat", " sang to them", "\n"], "answer": 0},
    {"question": "a bird sang to", "choices": [" the mat", " them", "\n", " on"], "answer": 3},
    {"question": "the dog sat ", "choices": ["on", "to", "a"], "answer": 1},
    {"question": "them\n", "choices": ["the dog", "a mat\nthe dog"], "answer": 0},
]
LONG = "a bird sang to the dog on the log\n" * 9
"""Longer than any context here."""
BEYOND = [*QUESTIONS, {"question": LONG, "choices": ["a bird", "the cat sat", "on"], "answer": 1}]
TEXTS = [{"text": "the dog sat"}, {"text": LONG}, {"text": "a bird sang to them\n"}]
LIKELY = {
    "output_type": "loglikelihood",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{choices[0]}}",
    "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
}
WHOLE = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "bits_per_byte"}, {"metric": "word_perplexity"}],
}
WRITTEN = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{choices[0]}}",
    "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 12},
    "metric_list": [{"metric": "exact_match"}],
}


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "tasks"
    write_task(folder, "chosen", BEYOND, metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}])
    write_task(folder, "likely", BEYOND, form=LIKELY)
    write_task(folder, "whole", TEXTS, form=WHOLE)
    write_task(folder, "written", QUESTIONS, form=WRITTEN)
    return folder


def numbers(model: Any, tasks: Path) -> tuple[dict[tuple[str, str], float], dict[str, Any]]:
    """The numbers of each task, and what the model said to each question."""
    loaded = load_tasks(["chosen", "likely", "whole", "written"], include=tasks).local
    for task in loaded["tasks"].values():
        task.set_config(key="num_fewshot", value=0)
    found: Any = evaluate(model, loaded, bootstrap_iters=0)
    of_tasks = {
        (task, metric): value
        for task, metrics in found["results"].items()
        for metric, value in metrics.items()
        if isinstance(value, float)
    }
    said = {task: [each["filtered_resps"] for each in of_task] for task, of_task in found["samples"].items()}
    return of_tasks, said


def flat(answers: list[Any]) -> list[float]:
    """The log-probabilities and whether each is the likeliest, of all questions in a row."""
    return [float(number) for number in np.array(list(itertools.chain(*answers))).flat]


def assert_equal(found: Any, expected: Any) -> None:
    """Equal up to the order of sums in float32."""
    (of_tasks, said), (expected_of_tasks, expected_said) = found, expected
    assert len(expected_of_tasks) == 7
    assert of_tasks == pytest.approx(expected_of_tasks, rel=1e-6)
    assert said["written"] == expected_said["written"]
    for task in ("chosen", "likely", "whole"):
        assert flat(said[task]) == pytest.approx(flat(expected_said[task]), abs=1e-4), task


def client_of(address: str, run: Run, **settings: Any) -> Any:
    """lm-eval's client, told what no server can tell it; see docs/serve.md."""
    return LocalCompletionsAPI(
        base_url=f"{address}/v1/completions",
        model=run.directory.name,
        # lm-eval keeps two tokens back: one that it asks for and has no use for, and the last one, which is not read.
        max_length=run.model.config.context_length + 2,
        max_retries=1,
        # lm-eval takes the first token for no token if its id is 0, as that of a line end here.
        custom_prefix_token_id=run.prompt_ids("")[-1],
        **settings,
    )


@pytest.mark.parametrize("name", ["tales", "letters"])  # a model of documents, and one of a single text
def test_the_numbers_are_those_of_eval(
    trained: Path, serve: Callable[..., Any], tasks: Path, name: str
) -> None:
    """Also where texts are longer than the context, which each side cuts by itself."""
    run = open_run(str(trained / name))
    expected = numbers(HarnessModel(run), tasks)
    with listening(serve(trained / name)) as address:
        for settings in ({"batch_size": 3}, {"num_concurrent": 4}):
            model = client_of(address, run, **settings)
            assert model.tokenizer_backend == "remote"  # found by itself
            assert_equal(numbers(model, tasks), expected)


def test_prompts_may_be_sent_as_texts(trained: Path, serve: Callable[..., Any], tasks: Path) -> None:
    """A character is a token, so that what lm-eval cuts is cut alike; see docs/serve.md for other tokenizers."""
    run = open_run(str(trained / "letters"))
    with listening(serve(trained / "letters")) as address:
        model = client_of(address, run, tokenized_requests=False, batch_size=2)
        assert_equal(numbers(model, tasks), numbers(HarnessModel(run), tasks))


@pytest.mark.slow
def test_an_exported_tokenizer_gives_the_same(
    trained: Path, serve: Callable[..., Any], tasks: Path, tmp_path: Path
) -> None:
    run = open_run(str(trained / "tales"))
    export_run(str(trained / "tales"), "hf", output=tmp_path / "exported")
    with listening(serve(trained / "tales")) as address:
        model = client_of(address, run, tokenizer_backend="huggingface", tokenizer=str(tmp_path / "exported"))
        assert_equal(numbers(model, tasks), numbers(HarnessModel(run), tasks))


@pytest.mark.slow
def test_the_command_shows_what_eval_shows(
    trained: Path, serve: Callable[..., Any], tasks: Path, tmp_path: Path
) -> None:
    """The command of docs/serve.md, and `glassgpt eval`: the same digits."""
    names = "chosen,whole,written"
    with listening(serve(trained / "tales")) as address:
        settings = f"model=tales,base_url={address}/v1/completions,max_length={CONTEXT + 2}"
        command = [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", settings]
        command += ["--tasks", names, "--include_path", str(tasks), "--output_path", str(tmp_path / "found")]
        subprocess.run(command, cwd=tasks, check=True, timeout=280, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    (found,) = (tmp_path / "found").rglob("results_*.json")
    results = json.loads(found.read_text())["results"]
    scores = ask_tasks(open_run(str(trained / "tales")), load_tasks(names.split(","), include=tasks))
    assert [score.name for score in scores] == names.split(",")
    for score in scores:
        shown = {score.measures.removeprefix("lm-eval, "): score.value, **score.details}
        for metric, value in shown.items():
            assert f"{results[score.name][f'{metric},none']:.6g}" == f"{value:.6g}"  # as float32 has
