"""Each kind from end to end: a base and records in, a run out that opens, resumes exactly and records its origin."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from glassgpt import files
from glassgpt.adapters.config import LoRAConfig
from glassgpt.chat.conversation import Chat, template_of
from glassgpt.errors import ConfigError, CorpusError, RunError, TrainingError
from glassgpt.finetuning.classify import open_classifier
from glassgpt.finetuning.config import (
    ClassifyConfig,
    DistillConfig,
    DistillTraining,
    DPOConfig,
    FineTuneConfig,
    GRPOConfig,
    Reinforcement,
    SamplesConfig,
    SFTConfig,
    ShortTraining,
    ShownConfig,
    StudentSamples,
)
from glassgpt.finetuning.run import resume_finetuning, start_finetuning
from glassgpt.generation.text import GenerationConfig
from glassgpt.jobs.work import Outcome
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import model_with, open_run
from glassgpt.runs.reading import read_confusion
from glassgpt.runs.records import read_events
from glassgpt.runs.report import chain
from glassgpt.runs.steps import steps_of
from glassgpt.training.events import Evaluated, StepsFinished, TrainingStarted, event_to_dict
from tests.fixtures.quick import quick

SETTINGS = {
    "steps": 6, "epochs": 0, "batch_size": 4, "evaluate_every": 3, "checkpoint_every": 2, "keep_checkpoints": 9,
    "log_every": 2, "threads": 1, "precision": "float32", "device": "cpu", "warmup_steps": 1,
}  # fmt: skip
SAMPLES = SamplesConfig(count=2, max_tokens=12)
LORA = LoRAConfig(rank=4)


def training(**settings: Any) -> Any:
    return ShortTraining(**{**SETTINGS, **settings})


def student(**settings: Any) -> Any:
    return DistillTraining(**{**SETTINGS, **settings})


def reinforcement(**settings: Any) -> Any:
    return Reinforcement(**{**SETTINGS, "batch_size": 2, **settings})


KINDS: dict[str, tuple[FineTuneConfig, tuple[str, ...]]] = {
    "sft": (SFTConfig(training=training(), samples=SAMPLES), ("asked.json",)),
    "sft-lora": (SFTConfig(training=training(), samples=SAMPLES, lora=LORA), ("asked.json",)),
    "dpo": (DPOConfig(training=training(), samples=SAMPLES), ("liked.json",)),
    "dpo-lora": (DPOConfig(training=training(), samples=SAMPLES, lora=LORA), ("liked.json",)),
    "grpo": (
        GRPOConfig(training=reinforcement(), samples=ShownConfig(count=2), group=4, max_tokens=12, prompts=4),
        (),
    ),
    "grpo-lora": (
        GRPOConfig(
            training=reinforcement(), samples=ShownConfig(count=2), lora=LORA, group=4, max_tokens=12, prompts=4,
            reward=("length",), length=3,
        ),
        ("asked.json",),
    ),
    "classify": (ClassifyConfig(training=training()), ("moods.jsonl",)),
    "classify-last": (ClassifyConfig(training=training(), freeze="all-but-last"), ("moods.jsonl",)),
    "classify-lora": (ClassifyConfig(training=training(), lora=LORA), ("moods.jsonl",)),
    "distill": (
        DistillConfig(training=student(), samples=StudentSamples(count=2, max_tokens=12), layers=1, width=16),
        (),
    ),
}  # fmt: skip


def finetune(name: str, base: str = "base", **options: Any) -> Outcome:
    config, data = KINDS[name]
    return start_finetuning(base, data, config, name=name, **options)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("adapter/*.safetensors")):
        found |= {f"{path.name}:{name}": tensor for name, tensor in load_file(path).items()}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_leaves_a_whole_run_and_the_base_as_it_was(kind: str, here: Path) -> None:
    before = {path.name: files.hash_file(path) for path in (here / "runs/base").iterdir() if path.is_file()}
    outcome = finetune(kind)
    run = outcome.directory
    assert {
        path.name: files.hash_file(path) for path in (here / "runs/base").iterdir() if path.is_file()
    } == before
    assert outcome.finished.step == 6
    assert run.path.name == kind
    for path in (run.config, run.tokenizer, run.lineage, run.metrics, run.plot, run.report, run.comparison):
        assert path.is_file(), path
    assert run.adapter.is_dir() == kind.endswith("-lora")
    assert run.weights.is_file() != kind.endswith("-lora")
    opened = open_run(kind)
    assert opened.model(torch.tensor([[1, 2, 3]])).isfinite().all()
    steps = steps_of(run)
    assert [step.step for step in steps][-1] == 6
    for step in steps:
        assert model_with(opened, step.path)(torch.tensor([[1, 2, 3]])).isfinite().all()
    assert chain(kind, opened.lineage) == ["base (pretraining)", f"{kind} ({kind.partition('-')[0]})"]
    comparison = files.read_json(run.comparison)
    assert set(comparison["numbers"]) >= {"reward" if kind.startswith("grpo") else "held-out loss"}
    page = run.report.read_text()
    assert "Before and after" in page
    assert "base (pretraining)" in page


@pytest.mark.parametrize("kind", quick(KINDS, "sft", "grpo-lora"))
def test_killed_and_resumed_it_ends_with_the_same_bits(kind: str, here: Path) -> None:
    """Everything after the checkpoint of step 2 is removed, as if the run had been killed then.

    The losses of `grpo-lora` once differed on a busy machine although the weights were the same, and the test did not
    say where. So all events are compared, each with its step and its numbers: a missing or repeated event can be
    distinguished from one with different last bits.
    """
    run = finetune(kind).directory
    expected, story = weights_of(run.path), story_of(run)
    for path in run.checkpoints.glob("step-*"):
        if int(path.name.removeprefix("step-")) > 2:
            shutil.rmtree(path)
    for path in (run.weights, run.comparison, run.path / "head.safetensors"):
        path.unlink(missing_ok=True)
    shutil.rmtree(run.adapter, ignore_errors=True)
    torch.manual_seed(999)
    resume_finetuning(kind)
    found = weights_of(run.path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert story_of(run) == story


def story_of(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the events of a run without those of starting and resuming, and without times."""
    told = [
        event_to_dict(event) for event in read_events(run.metrics) if not isinstance(event, TrainingStarted)
    ]
    return [{key: event[key] for key in event.keys() - {"seconds", "tokens_per_second"}} for event in told]


@pytest.mark.parametrize("kind", ["sft", "sft-lora", "dpo", "classify", "classify-lora"])
def test_learning_lowers_the_held_out_loss(kind: str, here: Path) -> None:
    config, data = KINDS[kind]
    longer = dataclasses.replace(config, training=training(steps=60, evaluate_every=20, learning_rate=3e-3))
    run = start_finetuning("base", data, longer, name=kind, given=["training.learning_rate"]).directory
    before, after = files.read_json(run.comparison)["numbers"]["held-out loss"]
    assert after < 0.9 * before


def test_a_reward_is_learned(here: Path) -> None:
    """The reward asks for three words: after some updates the answers are close to that, but not before.

    An update has 32 answers. With 8 of them, the gain was within the noise on some processors. With 12 choices of seed
    and kernels the first four updates had a mean of 0.36 to 0.44, and the last third one of 0.67 to 0.73.
    """
    config, data = KINDS["grpo-lora"]
    settings = reinforcement(steps=60, evaluate_every=60, learning_rate=5e-3, batch_size=4)
    longer = dataclasses.replace(config, lora=LoRAConfig(), group=8, training=settings)
    run = start_finetuning("base", data, longer, name="short", given=["training.learning_rate"]).directory
    steps = [event for event in read_events(run.metrics) if isinstance(event, StepsFinished)]
    rewards, third = [event.metrics["reward"] for event in steps], len(steps) // 3
    assert sum(rewards[-third:]) / third > sum(rewards[:2]) / 2 + 0.1
    assert all({"reward", "length", "divergence"} <= set(event.metrics) for event in steps)
    assert steps[-1].metrics["divergence"] > steps[0].metrics["divergence"]


def test_metrics_of_preferences_are_logged(here: Path) -> None:
    run = finetune("dpo").directory
    evaluations = [event for event in read_events(run.metrics) if isinstance(event, Evaluated)]
    assert all(set(event.metrics) == {"accuracy", "margin", "chosen", "rejected"} for event in evaluations)
    assert evaluations[0].metrics["margin"] == pytest.approx(0, abs=1e-6)  # the model is the base
    assert evaluations[0].metrics["accuracy"] == 0.5
    assert evaluations[0].loss == pytest.approx(0.6931, abs=1e-3)
    assert evaluations[0].perplexity is None


def test_preferences_are_compared_without_chance(here: Path) -> None:
    """In training, a base with dropout once seemed to give its own answers a lower probability than it did."""
    config_file = here / "runs/base/config.toml"
    config_file.write_text(config_file.read_text().replace("dropout = 0.0", "dropout = 0.3"))
    assert open_run("base").model.config.dropout == 0.3
    config, data = KINDS["dpo"]
    still = dataclasses.replace(config, training=training(steps=2, log_every=1, learning_rate=1e-9))
    run = start_finetuning("base", data, still, name="still", given=["training.learning_rate"]).directory
    steps = [event for event in read_events(run.metrics) if isinstance(event, StepsFinished)]
    assert all(abs(event.metrics["chosen"]) < 1e-3 for event in steps)
    assert open_run("still").model.config.dropout == 0


def test_the_chain_goes_from_base_to_adapter(here: Path) -> None:
    finetune("sft")
    config, data = KINDS["dpo-lora"]
    start_finetuning("sft", data, config, name="adapter")
    start_finetuning("adapter", data, KINDS["dpo"][0], name="last")
    lineage = open_run("last").lineage
    assert chain("last", lineage) == ["base (pretraining)", "sft (sft)", "adapter (dpo)", "last (dpo)"]
    assert lineage.chat.stop == ["<|im_end|>"]
    assert template_of(open_run("last")) is not None


def test_an_adapter_on_another_base_is_refused_with_both_names(here: Path) -> None:
    finetune("sft-lora")
    config, data = KINDS["classify"]
    start_finetuning("base", data, config, name="other")
    shutil.rmtree(here / "runs/base")
    shutil.copytree(here / "runs/other", here / "runs/base")
    with pytest.raises(RunError, match=r"sft-lora was made from base with the weights \w+, but the run base"):
        open_run("sft-lora")
    shutil.rmtree(here / "runs/base")
    with pytest.raises(RunError, match="sft-lora was made from the run base, which no longer exists"):
        open_run("sft-lora")


def test_an_adapter_that_was_altered_is_refused(here: Path) -> None:
    run = finetune("sft-lora").directory
    path = run.adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(RunError, match=r"adapter_model\.safetensors was altered"):
        open_run("sft-lora")


def test_an_unfinished_adapter_opens_from_its_checkpoint(here: Path) -> None:
    run = finetune("sft-lora").directory
    expected = open_run("sft-lora").model(torch.tensor([[5, 6, 7]]))
    shutil.rmtree(run.adapter)
    torch.testing.assert_close(
        open_run("sft-lora").model(torch.tensor([[5, 6, 7]])), expected, rtol=1e-4, atol=1e-5
    )
    shutil.rmtree(run.checkpoints)
    with pytest.raises(RunError, match="no weights yet"):
        open_run("sft-lora")


def test_a_classifier_says_its_labels(here: Path) -> None:
    config, data = KINDS["classify"]
    longer = dataclasses.replace(config, training=training(steps=60, learning_rate=3e-3))
    run = start_finetuning("base", data, longer, name="moods", given=["training.learning_rate"]).directory
    assert (run.path / "confusion.png").is_file()
    confusion = read_confusion(run)
    assert confusion.labels == ["glad", "sad"]
    assert f">{confusion.counts[1][1]}</td>" in run.report.read_text()
    classifier = open_classifier(open_run("moods"))
    glad, sad = classifier.probabilities(["The boat is good.", "The boat is lost."])
    assert set(glad) == {"glad", "sad"}
    assert sum(glad.values()) == pytest.approx(1)
    assert glad["glad"] > 0.6
    assert sad["sad"] > 0.6
    with pytest.raises(RunError, match="has not learned to classify"):
        open_classifier(open_run("base"))


def test_a_chat_keeps_its_history_and_forgets_the_oldest(here: Path) -> None:
    finetune("sft")
    run = open_run("sft")
    template = template_of(run)
    assert template is not None
    chat = Chat(run, template, system="Be brief.")
    config = GenerationConfig(max_tokens=6, temperature=0)
    for turn in range(5):
        answer = "".join(event.text for event in chat.ask(f"Name {turn}.", config))
        assert chat.history[-1].content == answer.strip()
        assert chat.history[-2].content == f"Name {turn}."
    assert 2 <= len(chat.history) < 10
    with pytest.raises(Exception, match="say it in fewer words"):
        list(chat.ask("many words " * 60, config))
    assert chat.history[-2].content == "Name 4."  # a message that failed is not kept in the history


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("sft-lora", {"template": "chatml"}, "rows LoRA does not train"),
        ("distill", {"width": 17}, "not a multiple of the teacher's head width"),
    ],
)
def test_an_impossible_choice_is_refused_before_a_run_is_made(
    kind: str, change: dict[str, Any], message: str, here: Path
) -> None:
    config, data = KINDS[kind]
    with pytest.raises(ConfigError, match=message):
        start_finetuning("base", data, dataclasses.replace(config, **change), name="none")
    assert not (here / "runs/none").exists()


def test_bad_records_leave_no_run(here: Path) -> None:
    (here / "bad.json").write_text(json.dumps([{"instruction": "a", "output": "b"}, {"instruction": "a"}]))
    with pytest.raises(CorpusError, match=r"bad.json#2 does not have an answer to learn"):
        start_finetuning("base", ["bad.json"], KINDS["sft"][0], name="none")
    for kind in ("sft", "dpo"):
        (here / "long.json").write_text(
            json.dumps(
                [
                    {"instruction": "a word " * (200 + n), "output": "b", "chosen": "b", "rejected": "c"}
                    for n in range(3)
                ]
            )
        )
        with pytest.raises(CorpusError, match=r"long.json#\d: the prompt has \d+ tokens"):
            start_finetuning("base", ["long.json"], KINDS[kind][0], name="none")
    assert not (here / "runs/none").exists()


def test_a_label_only_in_held_out_texts_is_refused(here: Path) -> None:
    rows = [{"text": f"text {index}", "label": f"label {index}"} for index in range(10)]
    (here / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CorpusError, match="occurs only in the held-out texts"):
        start_finetuning("base", ["all.jsonl"], KINDS["classify"][0], name="none")


def test_a_reward_that_fails_leaves_the_run_to_be_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function fails at the third batch; once it is fixed, the run continues to the end."""
    (here / "moody.py").write_text(
        "calls = 0\n\ndef reward(prompt, answer, record):\n    global calls\n    calls += 1\n"
        "    if BROKEN and calls > 24:\n        raise RuntimeError('no more')\n    return len(answer) % 3\n"
        "\nBROKEN = True\n"
    )
    config, data = KINDS["grpo"]
    mine = dataclasses.replace(config, reward=("moody:reward",))
    with pytest.raises(TrainingError, match="no more"):
        start_finetuning("base", data, mine, name="moody")
    assert list((here / "runs/moody/checkpoints").glob("step-*"))
    sys.modules["moody"].BROKEN = False  # type: ignore[attr-defined]
    assert resume_finetuning("moody").finished.step == 6
    sys.modules.pop("moody")


def test_a_run_does_not_continue_on_changed_data(here: Path) -> None:
    finetune("sft")
    records = json.loads((here / "asked.json").read_text())
    (here / "asked.json").write_text(json.dumps([*records, records[0]]))
    with pytest.raises(RunError, match="data of sft has changed"):
        resume_finetuning("sft")


def test_pairs_that_the_context_makes_equal_are_left_out_and_reported(here: Path) -> None:
    """Answers that differ only beyond the context were once trained as a pair, whose loss stays at 0.693."""
    same = "a red boat and " * 60
    liked = json.loads((here / "liked.json").read_text())
    cut = [{"prompt": f"Name {n}.", "chosen": same + "yes", "rejected": same + "no"} for n in range(8)]
    (here / "some.json").write_text(json.dumps([*liked, *cut]))
    said: list[str] = []
    start_finetuning("base", ["some.json"], KINDS["dpo"][0], name="some", say=said.append)
    assert "8 pairs were left out: both answers are the same once they are cut to the context." in said
    (here / "none.json").write_text(json.dumps(cut))
    with pytest.raises(CorpusError, match=r"No record is left.*two different ones"):
        start_finetuning("base", ["none.json"], KINDS["dpo"][0], name="none")


def test_what_does_not_fit_is_counted_once_over_both_sides(here: Path) -> None:
    """The figures of the learned records and of the held-out ones were two lines, also where a figure was 0."""
    asked = json.loads((here / "asked.json").read_text())
    long = [{"instruction": f"Name {n}.", "output": f"{n} is a red boat. " * 60} for n in range(9)]
    (here / "long.json").write_text(json.dumps([*asked, *long]))
    said: list[str] = []
    start_finetuning("base", ["long.json"], KINDS["sft"][0], name="some", say=said.append)
    assert "9 answers were too long for the context and were cut at its end." in said
    assert not [line for line in said if " 0 " in f" {line}" or "left out" in line]
    texts = [
        {"text": f"The boat {n} is {'good' if n % 2 else 'lost'}. " * 60, "label": n % 2} for n in range(20)
    ]
    (here / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    said.clear()
    start_finetuning("base", ["long.jsonl"], KINDS["classify"][0], name="labels", say=said.append)
    counted = [line for line in said if "longer than the context" in line]
    assert counted == ["20 of 20 texts are longer than the context of 96 tokens: only the beginning is read."]


def test_records_whose_prompt_fills_the_context_are_counted_in_a_sentence_of_their_own(here: Path) -> None:
    liked = json.loads((here / "liked.json").read_text())
    (here / "long.json").write_text(
        json.dumps([*liked, {"prompt": "word " * 200, "chosen": "Yes.", "rejected": "No."}])
    )
    config: Any = dataclasses.replace(KINDS["dpo"][0], too_long="skip")
    said: list[str] = []
    start_finetuning("base", ["long.json"], config, name="some", say=said.append)
    assert "1 record was left out: the prompt fills the context of 96 tokens." in said
    assert not [line for line in said if "cut" in line]


def test_copies_are_reported_and_never_both_learned_and_measured(here: Path) -> None:
    rows = [
        {"text": text, "label": label}
        for text, label in (("The boat is good.", "glad"), ("All is lost.", "sad"))
    ]
    (here / "copies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows * 20))
    said: list[str] = []
    with pytest.raises(CorpusError, match="occurs only in the held-out texts"):
        start_finetuning("base", ["copies.jsonl"], KINDS["classify"][0], name="copies", say=said.append)
    assert (
        "38 of 40 records are copies of others; copies are either all learned from or all held out." in said
    )


def test_prompts_that_leave_no_room_for_an_answer_are_counted(here: Path) -> None:
    """They were once left out silently."""
    asked = json.loads((here / "asked.json").read_text())
    (here / "long.json").write_text(json.dumps([*asked, {"instruction": "word " * 200, "output": "Yes."}]))
    config: Any = dataclasses.replace(KINDS["grpo-lora"][0], too_long="skip")
    said: list[str] = []
    start_finetuning("base", ["long.json"], config, name="some", say=said.append)
    assert f"1 of {len(asked) + 1} prompts left no room for an answer and were left out." in said


def test_a_reward_in_another_folder_leaves_the_run_where_it_is(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLASSGPT_RUNS", "runs")
    (here / "away.py").write_text("import os\ndef reward(*_):\n    os.chdir('/')\n    return 1\n")
    config: Any = dataclasses.replace(KINDS["grpo"][0], reward=("away:reward",))
    start_finetuning("base", [], config, name="away")
    assert (here / "runs/away/report.html").is_file()
    assert Path.cwd() == here


def test_a_damaged_classifier_says_so(here: Path) -> None:
    """Each once ended in a traceback, or labelled glad texts as sad."""
    finetune("classify")
    run = here / "runs/classify"
    for name, content, says in (
        ("labels.json", "", "is damaged"),
        ("labels.json", "[1, 2]", "is damaged"),
        ("labels.json", "[" * 100_000, "is damaged"),
        ("labels.json", '["sad", "glad"]', "its labels are not"),
        ("labels.json", '["glad", "low", "sad"]', "its labels are not"),
        ("head.safetensors", "", "was altered since"),
    ):
        original = (run / name).read_bytes()
        (run / name).write_text(content)
        with pytest.raises(RunError, match=rf"{name} .*{says}.*Put the original back"):
            open_classifier(open_run("classify"))
        (run / name).write_bytes(original)
    (run / "labels.json").unlink()
    (run / "head.safetensors").unlink()
    resume_finetuning("classify")
    assert open_classifier(open_run("classify")).labels == ["glad", "sad"]


def test_texts_and_labels_of_any_kind_are_told_apart(here: Path) -> None:
    """More labels than a picture can show, names that are formulas, and texts longer than the context."""
    labels = [r"$\frac{$", "$x$", "L" * 400, "\u202eabc", "日本", "3", "True", "<b>"]
    rows = [
        {"text": f"{'word ' * (60 * (row % 3 == 0))}{row}", "label": labels[row % 8]} for row in range(96)
    ]
    (here / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []
    config, _ = KINDS["classify"]
    start_finetuning("base", ["odd.jsonl"], config, name="odd", say=said.append)
    assert (here / "runs/odd/confusion.png").is_file()
    cut = [line for line in said if "longer than the context of 96 tokens" in line]
    assert sum(int(line.split()[0]) for line in cut) == 32
    told: list[str] = []
    classifier = open_classifier(open_run("odd"))
    assert sorted(classifier.probabilities(["word " * 99, "x"], told.append)[0]) == sorted(labels)
    assert len(told) == 1


@pytest.mark.slow
def test_many_labels_take_no_memory_for_each_pair_of_them(here: Path) -> None:
    """A matrix of all pairs of 10,000 labels once took 1.6 GB, and its picture was never finished."""
    rows = [{"text": f"a {label}", "label": str(label)} for _ in range(2) for label in range(4_000)]
    (here / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config: Any = dataclasses.replace(KINDS["classify"][0], split_by="place", validation=0.001)
    said: list[str] = []
    tracemalloc.start()
    start_finetuning("base", ["many.jsonl"], config, name="many", say=said.append)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100e6
    assert any("labels: 0, 1, 10, " in line and "and 3,980 more" in line for line in said)
    assert not list((here / "runs/many").glob("confusion.*"))
