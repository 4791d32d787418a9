"""The kind of fine-tuning of docs/extending.md: a command, a run, a resume, and what is said when it is gone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from glassgpt.cli.main import main
from glassgpt.errors import ConfigError, MemoryFullError
from glassgpt.finetuning.choice import read_choice
from glassgpt.finetuning.config import KINDS, Kind, SFTConfig
from glassgpt.finetuning.run import start_finetuning
from glassgpt.finetuning.settings import FineTuneConfig
from glassgpt.finetuning.start import fitted
from glassgpt.finetuning.task import Start
from glassgpt.model.summary import TrainingBytes
from glassgpt.runs.directory import find_run
from glassgpt.runs.opening import open_run
from tests.finetuning.test_kinds import story_of, training, weights_of

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## A kind of fine-tuning") : PAGE.index("## Another way to compute attention")]
SETTINGS, TASK = re.findall(r"^```python\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
COMMANDS = "glassgpt.cli.finetune"
FEW = ("--training.steps=6", "--training.evaluate-every=2", "--training.batch-size=2", "--training.threads=1",
       "--training.precision=float32", "--training.device=cpu", "--training.keep-checkpoints=9")  # fmt: skip


@pytest.fixture
def package(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with the kind `lines`, installed in a folder, and `lines.txt`."""
    folder = here / "packages"
    facts = folder / "glassgpt_lines-1.2.dist-info"
    facts.mkdir(parents=True)
    (folder / "lines_kind.py").write_text(SETTINGS)
    (folder / "lines_task.py").write_text(TASK)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: glassgpt-lines\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text("[glassgpt.kinds]\nlines = lines_kind:LINES\n")
    (here / "lines.txt").write_text(
        "".join(f"The {word} is good.\n" for word in ("boat", "cake", "kite", "drum"))
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, COMMANDS, raising=False)  # they were made without the package
    monkeypatch.setattr(KINDS, "_added", {})
    yield folder
    for module in (COMMANDS, "lines_kind", "lines_task"):
        sys.modules.pop(module, None)


@pytest.fixture
def glassgpt(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call the command line and return what it printed, its status first."""

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capsys.readouterr()
        words = " ".join(f"{printed.out} {printed.err}".split())
        return f"{ended.value.code} {words}"  # what a model writes may be nothing but white space

    return call


def trained(glassgpt: Callable[..., str]) -> Path:
    said = glassgpt("finetune", "lines", "base", "lines.txt", "--name=mine", "--held=1", *FEW)
    assert said.startswith("0 "), said
    return find_run("mine").path


def test_it_is_a_command_beside_ours(package: Path, glassgpt: Callable[..., str]) -> None:
    listed = glassgpt("finetune", "--help")
    assert "Commands of the package glassgpt-lines 1.2" in listed
    assert "lines" in listed
    assert "lines_kind" not in sys.modules, "the list imports no package"
    page = glassgpt("finetune", "lines", "--help")
    for words in ("Learn to write lines.", "A file of lines.", "--held INT", "--training.steps", "--minutes"):
        assert words in page


def test_killed_and_resumed_it_ends_with_the_same_bits_and_writes(
    package: Path, glassgpt: Callable[..., str]
) -> None:
    run = find_run(str(trained(glassgpt)))
    assert read_choice(run).kind == "lines"
    assert 'package = "glassgpt-lines 1.2"' in run.finetune.read_text()
    assert open_run("mine").lineage.kind == "lines"
    expected, story = weights_of(run.path), story_of(run)
    _first, kept, *later = sorted(run.checkpoints.glob("step-*"))
    for path in later:
        shutil.rmtree(path)
    assert kept.name.endswith("2")
    for path in (run.weights, run.comparison):
        path.unlink()
    assert glassgpt("resume", "mine").startswith("0 ")
    found = weights_of(run.path)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert found.keys() == expected.keys()
    assert story_of(run) == story
    written = glassgpt("generate", "mine", "--prompt=The boat", "--max-tokens=4")
    assert written.startswith("0 The boat"), written


@pytest.mark.slow
def test_its_settings_can_be_taken_from_another_run(package: Path, glassgpt: Callable[..., str]) -> None:
    file = trained(glassgpt) / "finetune.toml"
    again = glassgpt("finetune", "lines", "base", "lines.txt", "--name=again", f"--config={file}")
    assert again.startswith("0 "), again
    assert read_choice(find_run("again")).config == read_choice(find_run("mine")).config
    assert "of the kind lines, not sft" in glassgpt("finetune", "sft", "base", f"--config={file}")


def test_a_resume_without_the_package_says_which_one(
    package: Path, glassgpt: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(glassgpt)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(package)])
    monkeypatch.setattr(KINDS, "_added", {})
    said = glassgpt("resume", "mine")
    assert said.startswith("1 ")
    assert "'lines' comes from the package glassgpt-lines 1.2, which is not installed" in said
    assert glassgpt("generate", "mine", "--max-tokens=2").startswith("0 "), (
        "the model itself needs no package"
    )


def test_our_commands_import_neither_torch_nor_the_package(package: Path) -> None:
    source = (
        "import sys; from glassgpt.cli.main import make_app; sys.path.insert(0, sys.argv[1]);"
        "make_app().parse_args(['finetune', 'sft', 'base', 'asked.json', '--lora.rank=4'], exit_on_error=False);"
        "print(sorted({'torch', 'lines_kind', 'lines_task'} & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", source, str(package)], check=True, capture_output=True, text=True
    )
    assert said.stdout.strip() == "[]"


def test_a_broken_package_leaves_ours_alone(package: Path, glassgpt: Callable[..., str]) -> None:
    (package / "lines_kind.py").write_text("import nothing_of_that_name")
    refused = glassgpt("finetune", "lines", "base", "lines.txt", "--held=1")
    assert refused.startswith("1 ")
    assert "comes from lines_kind:LINES, which cannot be imported" in refused
    assert "Did you mean" in glassgpt("finetune", "stf", "base", "lines.txt"), "the slip is what is told"
    assert glassgpt("finetune", "--help").startswith("0 ")
    assert glassgpt("finetune", "sft", "--help").startswith("0 ")
    start_finetuning("base", ["asked.json"], SFTConfig(training=training(steps=1)), name="ours")


@dataclass(frozen=True)
class ToyConfig(FineTuneConfig):
    """A kind of its own."""


def too_much(_start: Start, _config: ToyConfig) -> TrainingBytes:
    """Return more memory than there is."""
    return TrainingBytes(weights=0, gradients=0, optimizer=0, activations=2**60)


@pytest.fixture
def toy(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ToyConfig]:
    monkeypatch.setattr(KINDS, "_added", {})

    def add(**settings: object) -> ToyConfig:
        facts = {"build": "nowhere:build", "help": "Toy.", "data": "Nothing.", **settings}
        KINDS.add("toy", Kind(ToyConfig, **facts))  # pyright: ignore[reportArgumentType]
        return ToyConfig(training=training())

    return add


def test_its_memory_is_asked_for_before_it_is_built(toy: Callable[..., ToyConfig]) -> None:
    with pytest.raises(MemoryFullError, match="This training needs about"):
        start_finetuning("base", (), toy(needs=f"{__name__}:too_much"), name="toy")


def test_what_is_not_where_it_says_is_named(toy: Callable[..., ToyConfig]) -> None:
    with pytest.raises(ConfigError, match="'toy' needs nowhere:build, which cannot be imported"):
        start_finetuning("base", (), toy(), name="toy")


def test_its_usual_learning_rate_is_a_part_of_ours(toy: Callable[..., ToyConfig]) -> None:
    usual = fitted(SFTConfig(training=training()), 1024, []).training.learning_rate
    assert fitted(toy(rate=0.5), 1024, []).training.learning_rate == usual / 2


def test_settings_of_no_kind_are_refused(toy: Callable[..., ToyConfig]) -> None:
    with pytest.raises(ConfigError, match="No kind of fine-tuning has the settings ToyConfig"):
        start_finetuning("base", (), ToyConfig(training=training()), name="toy")


def test_a_setting_cannot_have_a_name_that_is_taken() -> None:
    @dataclass(frozen=True)
    class Clashing(FineTuneConfig):
        base: str = ""

    with pytest.raises(ConfigError, match="Clashing has a setting 'base'"):
        Kind(Clashing, build="", help="", data="")
