"""The toys of docs/extending.md, installed as the package that the page describes, do what the page says."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
TOYS = PAGE[: PAGE.index("## All of them at work")]
LINES = [f"{level}: On day {day} the dog slept by the gate, and rain came in {day % 7} times."
         for day in range(120) for level in ("INFO", "WARN")]  # fmt: skip
SMALL = (
    "--tokenizer.vocab-size=300", "--model.context-length=16", "--model.n-layer=1", "--model.n-head=2",
    "--model.n-embd=16", "--training.batch-size=4", "--training.threads=1", "--training.precision=float32",
    "--training.evaluate-every=4", "--training.sample-every=0", "--cleaning.mode=off",
)  # fmt: skip


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's package is installed."""
    folder = tmp_path_factory.mktemp("installed")
    code = re.findall(r"^```python\n(.*?)^```$", TOYS, re.DOTALL | re.MULTILINE)
    (folder / "my_parts.py").write_text("\n\n".join(code))
    (settings,) = re.findall(r"^```toml\n(.*?)^```$", TOYS, re.DOTALL | re.MULTILINE)
    project = tomllib.loads(settings)["project"]
    facts = folder / "my_parts-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = configparser.ConfigParser()
    points.read_dict(project["entry-points"])
    with open(facts / "entry_points.txt", "w") as file:
        points.write(file)
    return folder


@pytest.fixture(scope="module")
def workplace(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `.log` file and the run `mine`, trained with all the parts."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "diary.log").write_text("\n".join(LINES))
    train, *_ = commands()
    assert train[:3] == ["train", "diary.log", "--name"]
    done(package, folder, *train, "--training.steps=8", *SMALL)
    return folder


def commands() -> list[list[str]]:
    """Return the commands of the section that uses all parts, as arguments."""
    section = PAGE[PAGE.index("## All of them at work") :]
    block = re.search(r"^```bash\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert block
    return [shlex.split(line)[1:] for line in block[1].replace("\\\n", " ").splitlines()]


def call(package: Path | None, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [package and str(package), os.environ.get("PYTHONPATH")]))
    variables = {
        "PYTHONPATH": path,
        "GLASSGPT_CACHE": str(folder / "cache"),
        "GLASSGPT_RUNS": str(folder / "runs"),
    }
    command = [sys.executable, "-m", "glassgpt", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, text=True, capture_output=True, check=False
    )


def done(package: Path | None, folder: Path, *arguments: str) -> str:
    found = call(package, folder, *arguments)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def refused(package: Path | None, folder: Path, *arguments: str) -> str:
    found = call(package, folder, *arguments)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return " ".join(found.stderr.split())


def test_a_run_of_all_parts_writes_and_is_asked(package: Path, workplace: Path) -> None:
    config = tomllib.loads((workplace / "runs/mine/config.toml").read_text())
    assert (config["model"]["activation"], config["model"]["norm"]) == ("snake", "unit")
    assert config["training"]["optimizer_settings"] == {"memory": 0.5}
    _train, generate, ask, _export = commands()
    done(package, workplace, *generate, "--max-tokens=4")
    assert "vowels among letters" in done(package, workplace, *ask, "--samples=2")


@pytest.mark.slow
def test_an_export_that_can_hold_it_does(package: Path, workplace: Path) -> None:
    *_, export = commands()
    assert "onnx" in done(package, workplace, *export, "--output=mine.onnx")


@pytest.mark.slow
def test_it_resumes_with_the_same_bits(package: Path, workplace: Path) -> None:
    """Half of the run, stopped by its number of steps' checkpoint, against the whole one."""
    from shutil import copytree, rmtree

    again = Path(copytree(workplace / "runs/mine", workplace / "runs/again"))
    rmtree(again / "checkpoints/step-00000008")
    for name in ("model.safetensors", "report.html"):
        (again / name).unlink()
    done(package, workplace, "resume", "again")
    for name in ("model.safetensors", "checkpoints/step-00000008/optimizer.safetensors"):
        assert (again / name).read_bytes() == (workplace / "runs/mine" / name).read_bytes()


@pytest.mark.slow
def test_an_export_that_cannot_hold_it_refuses_it_by_name(package: Path, workplace: Path) -> None:
    assert "activation = 'snake'" in refused(package, workplace, "export", "mine", "--to=hf", "--output=hf")


@pytest.mark.slow
def test_a_setting_that_it_does_not_have_is_refused(package: Path, workplace: Path) -> None:
    refusal = refused(
        package,
        workplace,
        "train",
        "diary.log",
        "--training.optimizer=sign",
        "--training.optimizer-settings.memry=1",
    )
    assert "sign has no setting 'memry'. Did you mean memory?" in refusal


@pytest.mark.slow
def test_the_format_is_inspected_and_named(package: Path, workplace: Path) -> None:
    assert "240" in done(package, workplace, "data", "inspect", "diary.log")


@pytest.mark.slow
def test_without_the_package_its_parts_are_missing_by_name(workplace: Path) -> None:
    said = refused(None, workplace, "generate", "mine")
    assert "norm = 'unit' is not known" in said
    assert "install the package that brings it" in said
