"""The real lm-eval over HTTP gives the numbers that `glassgpt eval` gives for the same tasks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval")

import datasets.config
from lm_eval.evaluator import evaluate
from lm_eval.models.openai_completions import LocalCompletionsAPI

from glassgpt.evaluation.harness import load_tasks
from glassgpt.evaluation.harness_model import HarnessModel
from glassgpt.runs.opening import open_run
from tests.fixtures.tasks import write_task
from tests.serving.conftest import listening

QUESTIONS = [
    {"question": "the cat", "choices": [" sat", " sang to them", "\n"], "answer": 0},
    {"question": "a bird sang to", "choices": [" the mat", " them", "\n", " on"], "answer": 3},
    {"question": "the dog sat ", "choices": ["on", "to", "a"], "answer": 1},
    {"question": "them\n", "choices": ["the dog", "a mat\nthe dog"], "answer": 0},
]
TEXTS = [{"text": "the dog sat"}, {"text": "a bird sang to them\n"}]
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
    write_task(folder, "chosen", QUESTIONS, metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}])
    write_task(folder, "likely", QUESTIONS, form=LIKELY)
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


@pytest.mark.parametrize("settings", [{"batch_size": 3}, {"num_concurrent": 4}])
@pytest.mark.parametrize("name", ["tales", "letters"])  # a model of documents, and one of a single text
def test_the_numbers_are_those_of_eval(
    trained: Path, serve: Callable[..., Any], tasks: Path, name: str, settings: dict[str, Any]
) -> None:
    run = open_run(str(trained / name))
    expected, expected_said = numbers(HarnessModel(run), tasks)
    with listening(serve(trained / name)) as address:
        model = LocalCompletionsAPI(
            base_url=f"{address}/v1/completions",
            model=name,
            max_length=run.model.config.context_length,
            max_retries=1,
            # lm-eval takes the first token for no token if its id is 0, as that of a line end here.
            custom_prefix_token_id=run.prompt_ids("")[-1],
            **settings,
        )
        assert model.tokenizer_backend == "remote"  # found by itself
        found, said = numbers(model, tasks)
    assert len(expected) == 7
    assert found == pytest.approx(expected, rel=1e-6)  # only the order of sums in float32 may differ
    assert said.pop("written") == expected_said.pop("written")
    for task, answers in expected_said.items():
        assert flat(said[task]) == pytest.approx(flat(answers), abs=1e-4), task
