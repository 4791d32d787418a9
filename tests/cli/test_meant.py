"""A command that is given something else than a run says what was most likely meant, as a command that works.

It once said only that the word is no run.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from glassgpt.cli.meant import replaced
from tests.cli.conftest import Command

IMPORT = "glassgpt import hf --name hf"
MEANT = {
    "generate 'Once upon'": 'glassgpt generate latest "Once upon"',
    "generate 'it costs $5' --seed 1": "glassgpt generate latest 'it costs $5' --seed 1",
    "generate again hello world": 'glassgpt generate latest "again hello world"',
    "generate small hello world": 'glassgpt generate small "hello world"',
    "generate small --seed 1 the --top-k 4 cat": 'glassgpt generate small "the cat" --seed 1 --top-k 4',
    "generate smal -- -x": "glassgpt generate -- small -x",
    "generate 'The cat' small": 'glassgpt generate small "The cat"',
    "generate smal 'The cat'": 'glassgpt generate small "The cat"',
    "generate SMALL": "glassgpt generate small",
    "generate rnus/small": "glassgpt generate small",
    "generate runs/smal": "glassgpt generate small",
    "runs smal": "glassgpt runs small",
    "runs show smal": "glassgpt runs show small",
    "runs show hf": f"{IMPORT} && glassgpt runs show hf",
    "generate runs": "glassgpt generate small",
    "generate . Once": "glassgpt generate small Once",
    "generate runs/small/model.safetensors": "glassgpt generate small",
    "generate runs/small/checkpoints": "glassgpt generate small",
    "generate small-f32.gguf": "glassgpt generate small",
    "generate text.txt": "glassgpt train text.txt",
    "generate texts": "glassgpt train texts",
    "generate hf Once": f"{IMPORT} && glassgpt generate hf Once",
    "generate hf/model.safetensors": f"{IMPORT} && glassgpt generate hf",
    "generate some/model": "glassgpt import some/model --name model && glassgpt generate model",
    "generate weights.pth": "glassgpt import weights.pth --name weights && glassgpt generate weights",
    "chat hf --max-tokens 9": f"{IMPORT} && glassgpt chat hf --max-tokens 9",
    "chat 'Hello, you'": "glassgpt chat latest",
    "chat small hello": "glassgpt chat small",
    "chat text.txt": "glassgpt train text.txt",
    "resume smal": "glassgpt resume small",
    "resume hf": IMPORT,
    "eval text.txt": "glassgpt eval latest text.txt",
    "eval builtin:tinytales:20 --split test": "glassgpt eval latest builtin:tinytales:20 --split test",
    "eval hf": f"{IMPORT} && glassgpt eval hf",
    "export smal --to gguf": "glassgpt export small --to gguf",
    "export hf": f"{IMPORT} && glassgpt export hf",
    "finetune sft records.json": "glassgpt finetune sft latest records.json",
    "finetune sft records.json small": "glassgpt finetune sft small records.json",
    "finetune dpo hf records.json": f"{IMPORT} && glassgpt finetune dpo hf records.json",
    "classify 'What a day!'": "glassgpt classify latest 'What a day!'",
    "runs compare small smal": None,
    "model smal --batch-size 2": "glassgpt model small --batch-size 2",
    "model nanno": "glassgpt model nano",
    "tokenizer encode smal hi": "glassgpt tokenizer encode small hi",
    "tokenizer encode 'The cat' small": 'glassgpt tokenizer encode small "The cat"',
    "tokenizer encode gtp2 hi --ids": "glassgpt tokenizer encode gpt2 hi --ids",
    "generate empty": None,
    "resume Once": None,
}


@pytest.fixture
def place(workplace: Path) -> Path:
    """A folder with a run, a text, records, an export by its name, and a model in the Hugging Face format."""
    Path("records.json").write_text("[]")
    Path("small-f32.gguf").touch()
    Path("weights.pth").touch()
    for name in ("texts", "hf", "empty"):
        Path(name).mkdir()
    shutil.copy("text.txt", "texts")
    for name in ("config.json", "model.safetensors"):
        (Path("hf") / name).touch()
    return workplace


@pytest.mark.parametrize("typed", MEANT)
def test_what_was_meant_is_printed_as_a_command(typed: str, glassgpt: Command, place: Path) -> None:
    said = glassgpt(*shlex.split(typed))
    assert said.status == 1, said
    found = re.search(r"[:?] (glassgpt .*)", said.errors)
    assert (found and found[1]) == MEANT[typed], said.errors


@pytest.mark.parametrize(
    "typed",
    [
        "generate 'The cat' --max-tokens 2",
        "generate small The cat --max-tokens=2",
        "eval text.txt",
        "model smal",
    ],
)
def test_what_is_printed_works_when_it_is_pasted(typed: str, glassgpt: Command, place: Path) -> None:
    _, found, line = glassgpt(*shlex.split(typed)).errors.rpartition(" glassgpt ")
    assert found
    assert glassgpt(*shlex.split(line)).status == 0


def test_a_model_that_was_imported_is_not_imported_again(glassgpt: Command, place: Path) -> None:
    shutil.rmtree("hf")
    assert glassgpt("export", "small", "--output", "hf").status == 0
    importing, then = glassgpt("generate", "hf", "--max-tokens=2").errors.split(" first: ")[1].split(" && ")
    for line in (importing, then):
        assert glassgpt(*shlex.split(line)[1:]).status == 0
    Path("runs/hf").rename("runs/other")
    assert glassgpt("generate", "hf", "The").errors.endswith("already, as other: glassgpt generate other The")


def test_of_a_long_prompt_only_the_pattern_is_shown(glassgpt: Command, workplace: Path) -> None:
    said = glassgpt("generate", "Once upon a time. " * 90, "--seed=1").errors
    assert said.endswith("newest run: glassgpt generate latest TEXT --seed=1")
    assert len(said) < 300


def test_where_no_run_is_a_prompt_leads_to_the_first_training(
    glassgpt: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLASSGPT_RUNS", "none")
    assert glassgpt("generate", "Once upon").errors.endswith("Make one first: glassgpt train")
    line = "glassgpt train --minutes 2 && glassgpt finetune sft latest records.json"
    assert glassgpt("finetune", "sft", "records.json").errors.endswith(f"stories first: {line}")


@pytest.mark.slow
def test_a_finished_run_says_so_and_how_to_train_for_longer(glassgpt: Command, workplace: Path) -> None:
    """`resume` of a finished run once printed its result as if something had been trained."""
    done = glassgpt("resume", "small")
    assert done.status == 0
    assert "small had finished before: nothing was left to train." in done.output
    line = done.output[done.output.rindex("glassgpt ") :]
    assert line.split() == [
        "glassgpt",
        "train",
        "--config",
        "runs/small/config.toml",
        "--training.steps",
        "12",
    ]
    assert glassgpt(*shlex.split(line)[1:], "--name", "longer").status == 0
    assert "nothing was left" not in glassgpt("runs").output


def test_an_imported_run_has_nothing_to_resume(glassgpt: Command, workplace: Path) -> None:
    assert glassgpt("export", "small", "--output", "hf").status == 0
    assert glassgpt("import", "hf", "--name", "came back").status == 0
    assert glassgpt("resume", "came back").errors.endswith('glassgpt generate "came back"')


def test_words_are_replaced_where_they_stand() -> None:
    typed = ["generate", "a", "--seed", "1", "b", "--stop", "a"]
    assert replaced(typed, ["a", "b"], ["latest", "a b"]) == [
        "generate",
        "latest",
        "a b",
        "--seed",
        "1",
        "--stop",
        "a",
    ]
