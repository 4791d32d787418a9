"""The real lm-eval on tasks made here, without a network: its numbers against those computed by hand."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("lm_eval")

import datasets.config
import huggingface_hub.constants
from lm_eval.api.instance import Instance

from glassgpt.errors import EvaluationError, MissingExtraError, OfflineError
from glassgpt.evaluation import harness
from glassgpt.evaluation.harness import ask_tasks, load_tasks, local_tasks
from glassgpt.evaluation.harness_model import HarnessModel, generation_config
from tests.fixtures.tasks import write_task

ACCURACY = {"metric_list": [{"metric": "acc"}]}
ROLLING = {
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "bits_per_byte"}],
}
QUESTIONS = [
    {"question": "The dog is", "choices": ["happy", "sad", "red"], "answer": 0},
    {"question": "Lily wanted to", "choices": ["play", "sat"], "answer": 1},
    {"question": "Where is the", "choices": ["ball", "bear", "of"], "answer": 2},
    {"question": "She saw her and", "choices": ["Ben", "it"], "answer": 0},
]
TEXTS = [{"text": "The dog is happy and the cats were sad."}, {"text": "Lily wanted to play with Ben. " * 9}]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two tasks and their data beside them."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "tasks"
    write_task(folder, "animals", QUESTIONS, **ACCURACY)
    write_task(folder, "whole", TEXTS, form=ROLLING)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was asked for {args}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(f"socket.socket.{name}", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.fixture(scope="module")
def run(bench, tokenizer):
    model = bench.untrained(tokenizer, context_length=32)
    torch.nn.init.normal_(model.token_embedding.weight, std=0.5)
    return bench.run_of(model, tokenizer)


@torch.no_grad()
def run_tasks(run, names, *, include=None, **settings):
    return ask_tasks(run, load_tasks(names, include=include), **settings)


def log_probabilities(run, ids: list[int]) -> torch.Tensor:
    """The log-probability of each token after the first."""
    logits = run.model(torch.tensor([ids[:-1]]))[0].double()
    return F.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_accuracy_and_chance_of_a_task_with_choices(run, tasks, no_network):
    (score,) = run_tasks(run, ["animals"], include=tasks)
    right = 0
    for asked in QUESTIONS:
        sums = []
        for choice in asked["choices"]:
            context = [run.tokenizer.end_of_text, *run.tokenizer.encode(asked["question"])]
            whole = [context[0], *run.tokenizer.encode(f"{asked['question']} {choice}")]
            sums.append(log_probabilities(run, whole)[len(context) - 1 :].sum().item())
        right += sums.index(max(sums)) == asked["answer"]
    assert score.name == "animals"
    assert score.measures == "lm-eval, acc"
    assert score.value == right / 4
    assert score.chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert score.count == 4
    assert score.error == pytest.approx(math.sqrt(score.value * (1 - score.value) / 3))


def test_bits_per_byte_of_whole_texts(run, tasks, no_network):
    """The second text is longer than the context, so it is read in windows of 32 predictions."""
    (score,) = run_tasks(run, ["whole"], include=tasks)
    nats = 0.0
    for text in TEXTS:
        ids = [run.tokenizer.end_of_text, *run.tokenizer.encode(text["text"])]
        for done in range(1, len(ids), 32):
            end = min(len(ids), done + 32)
            nats -= log_probabilities(run, ids[max(0, end - 33) : end])[done - end :].sum().item()
    assert len(ids) > 70
    size = sum(len(text["text"]) for text in TEXTS)
    assert score.value == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert score.chance is None


def test_solved_questions_stand_before_each(run, tasks, no_network):
    (plain,) = run_tasks(run, ["whole"], include=tasks)
    (limited,) = run_tasks(run, ["whole"], include=tasks, limit=1)
    assert limited.count == 1
    assert limited.value != plain.value
    (shown,) = run_tasks(run, ["animals"], include=tasks, few_shots=2)
    assert shown.count == 4


def test_the_network_is_off_only_during_the_block(run, tasks):
    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    with harness._offline():
        assert datasets.config.HF_HUB_OFFLINE
        assert huggingface_hub.constants.HF_HUB_OFFLINE
    assert before == (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)


def request(kind: str, *arguments) -> Instance:
    return Instance(kind, {}, arguments, 0)


def test_contexts_and_continuations(run):
    """The space moves to the continuation in any case; an empty context is the beginning of a document."""
    model, encode, end = HarnessModel(run), run.tokenizer.encode, run.tokenizer.end_of_text
    assert model.encode_pair("The dog", " is") == ([end, *encode("The dog")], encode(" is"))
    assert model.encode_pair("The dog ", "is") == model.encode_pair("The dog", " is")
    assert model.encode_pair("", "The") == ([end], encode("The"))


def test_contexts_of_a_model_of_one_long_text(bench, run, tokenizer):
    model = HarnessModel(bench.run_of(run.model, tokenizer, documents=1))
    assert model.encode_pair("The dog", " is") == (tokenizer.encode("The dog"), tokenizer.encode(" is"))
    assert model.encode_pair("", "The") == (tokenizer.encode("\n"), tokenizer.encode("The"))


def test_loglikelihood_says_whether_greedy_decoding_would_write_it(run):
    greedy = run.complete("The dog", generation_config({"max_gen_toks": 3}))[0]
    model = HarnessModel(run)
    found = model.loglikelihood([request("loglikelihood", "The dog", text) for text in (greedy, " xyzzy")])
    ids = [run.tokenizer.end_of_text, *run.tokenizer.encode("The dog xyzzy")]
    told = len(run.tokenizer.encode("The dog"))
    assert found[1][0] == pytest.approx(log_probabilities(run, ids)[told:].sum().item(), abs=1e-4)
    assert not found[1][1]


def test_prompts_of_which_only_the_end_is_seen_are_counted(run):
    """The context has 32 tokens; a longer question lost its beginning silently, which changed the figure."""
    model, word = HarnessModel(run), "7"
    assert len(run.tokenizer.encode(word * 31)) == 31
    model.loglikelihood([request("loglikelihood", word * 31, word)])
    model.generate_until([request("generate_until", word * 31, {"max_gen_toks": 1})])
    assert model.left_out() is None  # with what stands before: 32 tokens, all of them seen
    model.loglikelihood([request("loglikelihood", word * 32, word)])
    model.generate_until([request("generate_until", word * 32, {"max_gen_toks": 1})])
    model.loglikelihood_rolling([request("loglikelihood_rolling", word * 100)])  # in windows, all of it
    assert model.left_out() == (
        "2 of 4 prompts are longer than the context of 32 tokens: the beginning of each was left out."
    )


def test_cut_prompts_of_a_task_are_reported(run, tasks):
    shots, said = 4, []
    run_tasks(run, ["animals"], include=tasks, few_shots=shots, say=said.append)
    assert len(said) == 1
    assert said[0].endswith("longer than the context of 32 tokens: the beginning of each was left out.")


def test_generation_goes_on_until_a_string(run):
    prompts = ["The dog", "Lily wanted", "Where"]
    plain = [run.complete(prompt, generation_config({"max_gen_toks": 12}))[0] for prompt in prompts]
    stop = plain[0][3:5]
    settings = {"until": [stop], "max_gen_toks": 12}
    model = HarnessModel(run)
    found = model.generate_until([request("generate_until", prompt, settings) for prompt in prompts])
    assert found == [text.partition(stop)[0] for text in plain]


@pytest.mark.parametrize(
    ("settings", "temperature", "stop", "most"),
    [
        ({}, 0.0, (), 256),
        ({"until": "\n"}, 0.0, ("\n",), 256),
        ({"until": ["a", "b"], "max_tokens": 7, "do_sample": False, "temperature": 0.9}, 0.0, ("a", "b"), 7),
        ({"temperature": 0.7}, 0.7, (), 256),
        ({"do_sample": True}, 1.0, (), 256),
    ],
)
def test_settings_of_generation(settings, temperature, stop, most):
    config = generation_config(settings)
    assert (config.temperature, config.stop, config.max_tokens) == (temperature, stop, most)


def test_tasks_of_a_folder_are_listed(tasks):
    assert local_tasks(tasks) == ["animals", "whole"]


def test_a_folder_without_tasks_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="holds no task"):
        local_tasks(tmp_path)
    with pytest.raises(EvaluationError, match="no folder"):
        local_tasks(tmp_path / "nowhere")


def test_a_task_without_its_data_is_refused(run, tasks):
    (tasks / "animals.jsonl").unlink()
    with pytest.raises(EvaluationError, match="animals cannot be loaded"):
        run_tasks(run, ["animals"], include=tasks)


@pytest.mark.slow
def test_a_name_that_is_not_known_is_refused(run):
    with pytest.raises(EvaluationError, match=r"no task 'arc_eazy'.*Did you mean .*arc_easy"):
        run_tasks(run, ["arc_eazy"])
    with pytest.raises(EvaluationError, match=r"Did you mean .*grammar"):
        harness._refuse_unknown(["grammer"], ["animals", "grammar"])


def test_without_network_the_way_out_is_told(run, tasks):
    write_task(tasks, "far", [], dataset_path="some/where", dataset_kwargs={})
    with pytest.raises(OfflineError, match="cannot be fetched from the Hugging Face hub"):
        run_tasks(run, ["far"], include=tasks)


def test_without_lm_eval_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.tasks", None)
    with pytest.raises(MissingExtraError, match=r"glassgpt\[eval\]"):
        run_tasks(run, ["arc_easy"])


def test_lm_eval_is_quiet(run, tasks):
    run_tasks(run, ["animals"], include=tasks)
    assert logging.getLogger("lm_eval").level == logging.ERROR
