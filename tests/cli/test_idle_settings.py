"""Every command refuses a setting that nothing reads because of another one; it gives the way out and writes nothing.

All were once accepted: `--training.momentum 0.5` silently trained with AdamW, which has no momentum.
"""

from __future__ import annotations

import dataclasses
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glassgpt import config as configs
from glassgpt.finetuning.config import KINDS
from glassgpt.idle import option
from glassgpt.pretraining.recipes import read_recipe, recipe_names, refuse_idle_recipe
from glassgpt.runs.config import RunConfig
from tests.cli.conftest import Command, refused

OLD_RUNS = Path(__file__).parents[1] / "fixtures/runs-0.1.0/runs"
CONFIGS = {"train": RunConfig(), **{name: KINDS[name].config() for name in KINDS}}

GIVEN: dict[str, str] = {
    "training.momentum": "0.5",
    "training.matrix_learning_rate": "0.03",
    "training.matrix_weight_decay": "0.1",
    "training.decay_share": "0.3",
    "training.min_learning_rate": "0.0002",
    "training.steps": "5",
    "training.stride": "8",
    "training.sample_every": "2",
    "training.checkpoint_activations": "true",
    "training.beta1": "0.8",
    "training.beta2": "0.8",
    "training.epsilon": "0.001",
    "training.weight_decay": "0.2",
    "tokenizer.kind": "word",
    "tokenizer.vocab_size": "300",
    "tokenizer.pattern": "llama3",
    "tokenizer.engine": "rust",
    "tokenizer.min_frequency": "3",
    "cleaning.min_words": "9",
    "cleaning.repetition": "false",
    "cleaning.near_duplicates": "0.5",
    "split.seed": "3",
    "split.long_document": "100",
    "model.vocab_size": "300",
    "model.rope_theta": "500",
    "model.rope_original_length": "8",
    "model.rope_low_frequency": "0.5",
    "model.rope_high_frequency": "8",
    "samples.prompts": "The",
    "samples.max_tokens": "5",
    "samples.temperature": "0.5",
    "samples.top_k": "3",
    "samples.seed": "3",
    "lora.alpha": "4",
    "lora.dropout": "0.1",
    "lora.targets": "query",
    "words": "cat",
    "length": "3",
    "temperature": "3",
}
"""A value for each setting that can be idle."""

IN_THE_WAY: dict[tuple[str, str], dict[str, str]] = {
    ("", "training.optimizer"): {"training.optimizer": "adamw"},
    ("", "training.schedule"): {"training.schedule": "constant"},
    ("", "training.epochs"): {"training.epochs": "1"},
    ("", "training.order"): {"training.order": "random"},
    ("", "training.sample_every"): {"training.sample_every": "0"},
    ("", "tokenizer.name"): {"tokenizer.name": "gpt2"},
    ("", "tokenizer.kind"): {"tokenizer.kind": "char"},
    ("", "tokenizer.vocab_size"): {"tokenizer.vocab_size": "280"},
    ("", "cleaning.mode"): {"cleaning.mode": "gentle"},
    ("", "split.validation"): {"split.validation": "0"},
    ("", "model.positions"): {"model.positions": "learned"},
    ("", "model.rope_scaling"): {"model.rope_scaling": "none"},
    ("", "samples.temperature"): {"samples.temperature": "0"},
    ("", "samples.count"): {"samples.count": "0"},
    ("", "lora.rank"): {"lora.rank": "0"},
    ("", "reward"): {"reward": "tinytales"},
    ("", "freeze"): {"freeze": "all"},
    ("", "alpha"): {"alpha": "1"},
    ("", ""): {},
    **{
        (f"training.{name}", "training.optimizer"): {"training.optimizer": "muon", "lora.rank": "2"}
        for name in ("beta1", "beta2", "epsilon", "weight_decay")
    },
}
"""What makes a setting idle, by the other setting that its rule names; by both where that differs."""


def declared(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield every setting of a config that can be idle, with the other one that its rule names."""
    for rule in getattr(config, "ONLY_WITH", ()):
        other = rule.other and prefix + rule.other
        yield from ((prefix + setting, other) for setting in rule.settings)
    for field in dataclasses.fields(config):
        part = getattr(config, field.name)
        if dataclasses.is_dataclass(part):
            yield from declared(part, f"{prefix}{field.name}.")


RULES = [(name, *pair) for name, config in CONFIGS.items() for pair in dict.fromkeys(declared(config))]


def in_the_way(setting: str, other: str) -> dict[str, str]:
    return IN_THE_WAY.get((setting, other)) or IN_THE_WAY["", other]


def options(values: dict[str, str]) -> list[str]:
    return [f"{option(name)}={value}" for name, value in values.items()]


@pytest.fixture
def untouched(workplace: Path) -> Iterator[Path]:
    """A working folder to which a command writes nothing."""
    (workplace / "asked.json").write_text('[{"prompt": "a?", "completion": "b"}]')
    (workplace / "model.pth").write_bytes(b"")
    before = sorted(workplace.rglob("*"))
    yield workplace
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize(("command", "setting", "other"), RULES)
def test_a_setting_of_a_config_that_nothing_reads(
    glassgpt: Command, untouched: Path, command: str, setting: str, other: str
) -> None:
    start = ["train", "text.txt"] if command == "train" else ["finetune", command, "small", "asked.json"]
    values = {setting: GIVEN[setting], **in_the_way(setting, other)}
    refused(
        glassgpt(*start, *options(values)),
        f"{option(setting)} has no effect",
        *filter(None, [other and option(other)]),
    )


TRAIN = ("train", "text.txt")
VOCABULARY = ("tokenizer", "train", "text.txt", "--output=t.json")
OTHERS: list[tuple[tuple[str, ...], str, str]] = [
    ((*TRAIN, "--corpus.sources", "more.txt"), "--corpus.sources", "SOURCES text.txt"),
    ((*TRAIN, "--text-field", "a", "--corpus.text-field", "b"), "--corpus.text-field", "--text-field"),
    ((*TRAIN, "--text-field", "story"), "--text-field", "text.txt"),
    ((*TRAIN, "--corpus.text-field", "story"), "--text-field", "text.txt"),
    (("train", "--text-field", "story"), "--text-field", "builtin:tinytales"),
    (("train", "hf:a/b#text", "--text-field", "story"), "--text-field", "hf:a/b#text"),
    ((*TRAIN, "--recipe", "runs/small/config.toml", "--preset", "nano"), "--preset nano", "--recipe"),
    ((*TRAIN, "--training.momentum", "0.95"), "--training.momentum", "--training.optimizer adamw"),
    ((*TRAIN, "--training", '{"momentum": 0.5}'), "--training.momentum", "--training.optimizer adamw"),
    ((*TRAIN, "--training.no-compile", "--cleaning.no-repetition"), "--cleaning.repetition", "--cleaning.mode gentle"),
    ((*TRAIN, "--minutes=1", "--training.optimizer=adamw", "--training.momentum=0.9"), "--training.momentum",
     "--training.optimizer adamw"),
    ((*TRAIN, "--minutes=1", "--tokenizer.kind=char", "--tokenizer.pattern=llama3"), "--tokenizer.pattern",
     "--tokenizer.kind char"),
    ((*TRAIN, "--config", "runs/small/config.toml", "--training.decay-share=0.3"), "--training.decay-share",
     "--training.schedule cosine"),
    (("finetune", "grpo", "small", "--validation", "0.2"), "--validation", "without DATA"),
    (("finetune", "grpo", "small", "--split-by", "place"), "--split-by", "without DATA"),
    (("finetune", "grpo", "small", "--too-long", "skip"), "--too-long", "without DATA"),
    (("finetune", "distill", "small", "--text-field", "story"), "--text-field", "text.txt"),
    (("finetune", "distill", "small", "text.txt", "--text-field", "story"), "--text-field", "text.txt"),
    *[(("generate", "small", "--greedy", f"--{name}={value}"), f"--{name}", "--greedy")
      for name, value in {"temperature": "0.8", "top-k": "5", "top-p": "0.9", "min-p": "0.1", "seed": "3"}.items()],
    *[(("generate", "small", "--temperature=0", f"--{name}={value}"), f"--{name}", "--temperature 0")
      for name, value in {"top-k": "5", "top-p": "0.9", "min-p": "0.1", "seed": "3"}.items()],
    (("chat", "small", "--temperature=0", "--top-p=0.9"), "--top-p", "--temperature 0"),
    (("plan", "text.txt", "--minutes=1", "--force"), "--force", "--output"),
    (("plan", "text.txt", "--minutes=1", "--text-field", "story"), "--text-field", "text.txt"),
    ((*VOCABULARY, "--kind=word", "--pattern=gpt2"), "--pattern", "--kind word"),
    ((*VOCABULARY, "--kind=word", "--engine=rust"), "--engine", "--kind word"),
    ((*VOCABULARY, "--kind=char", "--min-frequency=3"), "--min-frequency",
     "--kind char"),
    ((*VOCABULARY, "--text-field=story"), "--text-field", "text.txt"),
    (("tokenizer", "compare", "runs/small", "--text=text.txt", "--text-field=story"), "--text-field", "text.txt"),
    (("data", "inspect", "text.txt", "--text-field", "story"), "--text-field", "text.txt"),
    (("data", "inspect", "*.txt", "--text-field", "story"), "--text-field", "*.txt"),
    (("data", "inspect", "text.txt", "--split.validation=0", "--split.seed=3"), "--split.seed",
     "--split.validation 0"),
    *[((command, "small", *line), *said) for command in ("eval", "evaluate") for line, *said in [
        (("text.txt", "--split", "train"), "--split", "SOURCES text.txt"),
        (("--text-field", "story"), "--text-field", "without SOURCES"),
        (("text.txt", "--text-field", "story"), "--text-field", "text.txt"),
    ]],
    (("eval", "small", "text.txt", "--samples=3"), "--samples", "without --tasks"),
    (("eval", "small", "text.txt", "--seed=3"), "--seed", "without --tasks"),
    (("eval", "small", "text.txt", "--tasks=all", "--limit=3"), "--limit", "--tasks all"),
    (("eval", "small", "--tasks=induction", "--force"), "--force", "--json"),
    (("eval", "small", "--tasks=induction", "--include=."), "--include", "--tasks induction"),
    (("eval", "small", "--limit=3"), "--limit", "--tasks"),
    (("eval", "small", "--tasks=induction,recall", "--few-shots=3"), "--few-shots", "--tasks induction recall"),
    (("eval", "small", "--tasks=induction", "--samples=3"), "--samples", "--tasks induction"),
    (("eval", "small", "--tasks=grammar", "--seed=3"), "--seed", "--tasks grammar"),
    *[(("import", "a/b", f"--{name}={value}"), f"--{name}", "SOURCE a/b")
      for name, value in {"heads": "2", "activation": "relu", "characters": "text.txt"}.items()],
    (("import", "model.pth", "--characters=text.txt", "--tokenizer=gpt2"), "--tokenizer", "--characters text.txt"),
    (("export", "small", "--to=hf", "--dtype=q8_0"), "--dtype q8_0", "--to hf"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "idle", "other"), OTHERS)
def test_any_option_that_nothing_reads(
    glassgpt: Command, untouched: Path, command: tuple[str, ...], idle: str, other: str
) -> None:
    refused(glassgpt(*command), idle, other)


def test_what_the_plan_decides_counts(glassgpt: Command, untouched: Path) -> None:
    """The rows of a plan are not windows with a stride. (Its optimizer has a momentum: see test_plan.)"""
    refused(
        glassgpt(*TRAIN, "--minutes=0.06", "--training.stride=8"),
        "--training.stride",
        "--training.order random",
    )


def recipe(values: dict[str, str]) -> str:
    """Return settings as the text of a recipe."""
    lists = ("samples.prompts", "lora.targets", "words")
    texts = {
        name: value if value[0].isdigit() or value in ("true", "false") else f'"{value}"'
        for name, value in values.items()
    }
    return "".join(f"{name} = {f'[{text}]' if name in lists else text}\n" for name, text in texts.items())


OF_TRAINING = [(setting, other) for command, setting, other in RULES if command == "train"]


@pytest.mark.parametrize(("setting", "other"), OF_TRAINING)
def test_a_setting_of_a_recipe_that_nothing_reads(
    glassgpt: Command, workplace: Path, setting: str, other: str
) -> None:
    Path("mine.toml").write_text(recipe({setting: GIVEN[setting], **in_the_way(setting, other)}))
    refused(glassgpt(*TRAIN, "--recipe", "mine.toml"), f"mine.toml: {setting} has no effect", other)
    assert [path.name for path in Path("runs").iterdir()] == ["small"]


def test_a_text_field_of_a_recipe_that_nothing_reads(glassgpt: Command, workplace: Path) -> None:
    Path("mine.toml").write_text('corpus.text_field = "story"')
    refused(glassgpt(*TRAIN, "--recipe", "mine.toml"), "corpus.text_field has no effect with text.txt")


@pytest.mark.parametrize(
    ("written", "put_over"),
    [
        # Writing out a default changes nothing.
        ("training.momentum = 0.95\ntraining.decay_share = 0.2\n", ""),
        # The command line overrides a recipe, and may remove what its other settings need.
        (
            'training.schedule = "wsd"\ntraining.decay_share = 0.3\n',
            'training.schedule = "linear"',
        ),
        ("training.decay_share = 0.3\n", 'training.schedule = "wsd"'),
        # A constant rate with equal first and last values is stated twice, as in the recipes of tutorials.
        (
            'training.schedule = "constant"\ntraining.learning_rate = 1e-5\ntraining.min_learning_rate = 1e-5\n',
            "",
        ),
    ],
)
def test_a_recipe_that_stays_valid(written: str, put_over: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(written)
    values = configs.merge(tomllib.loads(written), tomllib.loads(put_over))
    whole = configs.from_dict(RunConfig, values, origin="the test")
    refuse_idle_recipe(str(tmp_path / "mine.toml"), None, whole)


def test_a_file_that_names_every_setting_is_a_recipe_also_elsewhere(
    glassgpt: Command, workplace: Path
) -> None:
    """The `config.toml` of a run names the momentum of an optimizer that it does not use; so does a plan's."""
    run = Path("runs/small/config.toml").read_text()
    assert 'optimizer = "adamw"' in run
    Path("copy.toml").write_text(run.replace("momentum = 0.95", "momentum = 0.9"))
    done = glassgpt("train", "--recipe", "copy.toml", "--name=new")
    assert done.status == 0, done.errors
    assert "momentum = 0.9\n" in Path("runs/new/config.toml").read_text()


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_that_come_with_glassgpt_have_no_idle_setting(name: str) -> None:
    refuse_idle_recipe(name, None, configs.from_dict(RunConfig, read_recipe(name), origin=name))


@pytest.mark.parametrize("path", sorted(OLD_RUNS.glob("*/config.toml")), ids=lambda path: path.parent.name)
def test_the_config_of_an_old_run_is_a_recipe_wherever_it_lies(path: Path, tmp_path: Path) -> None:
    copy = shutil.copy(path, tmp_path / "mine.toml")
    refuse_idle_recipe(str(copy), None, configs.load(RunConfig, copy))
