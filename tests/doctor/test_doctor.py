"""The doctor finds what is damaged or missing, really runs its check, and names none of the user's folders."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from glassgpt import files
from glassgpt.cli.main import main
from glassgpt.doctor import check as checks
from glassgpt.doctor import measure, surroundings
from glassgpt.doctor.check import Step, check
from glassgpt.doctor.report import Diagnosis
from glassgpt.doctor.surroundings import Extra, core_versions, damaged_caches, extras, reachable, space
from glassgpt.errors import MissingExtraError
from glassgpt.machine.facts import machine_facts


def test_the_check_passes_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    steps = list(check())
    assert [step.name for step in steps] == ["train", "resume to the same bits", "generate", "export"]
    assert [step.trouble for step in steps] == [""] * 4
    assert list(tmp_path.iterdir()) == [temporary]
    left = [path.name for path in temporary.iterdir() if not path.name.startswith("torchinductor")]
    assert left == []  # torch makes a folder for its compiler, used or not


def test_a_resume_to_other_bits_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail is worthless: give the interrupted run another seed."""
    original = checks.start_run

    def start(config, *, name, **settings):
        if name == "halves":
            config = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=5))
        return original(config, name=name, **settings)

    monkeypatch.setattr(checks, "start_run", start)
    *_, last = check()
    assert (last.name, last.trouble) == ("resume to the same bits", "The weights differ.")


def test_a_missing_extra_is_no_trouble_and_a_bug_is() -> None:
    def missing() -> str:
        raise MissingExtraError("The library 'transformers' is needed.")

    def broken() -> str:
        raise ZeroDivisionError("division by zero")

    assert checks._tried("export", missing).skipped == "The library 'transformers' is needed."
    assert checks._tried("export", missing).trouble == ""
    assert checks._tried("train", broken).trouble == "ZeroDivisionError: division by zero"


def test_libraries_are_those_of_the_package() -> None:
    versions = core_versions()
    assert {"torch", "tokenizers", "safetensors"} <= set(versions)
    assert "transformers" not in versions
    named = {extra.name: extra for extra in extras()}
    assert {"data", "hf", "gguf", "onnx", "eval", "track"} <= set(named)
    assert "test" not in named
    assert named["hf"].present.keys() | set(named["hf"].missing) == {"transformers"}
    assert Extra("hf", {}, ("transformers",)).install == "pip install 'glassgpt[hf]'"
    assert Extra("hf", {"transformers": "5.0"}, ()).install == ""


def test_space_is_reported_before_there_is_a_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path / "not" / "there" / "yet"))
    found = space()
    assert 0 < found.free_disk <= found.disk
    assert 0 < found.free_memory <= found.memory


def test_a_damaged_cache_is_named_and_an_unfinished_one_is_not() -> None:
    assert damaged_caches() == []
    prepared = files.cache_dir() / "prepared"
    for name in ("whole", "damaged"):
        with files.atomic_directory(prepared / name) as folder:
            (folder / "train-00000.bin").write_bytes(b"12345678")
    (prepared / "unfinished").mkdir()
    (prepared / "damaged" / "train-00000.bin").write_bytes(b"1234567x")
    (trouble,) = damaged_caches()
    assert str(prepared / "damaged") in trouble
    assert "train-00000.bin was altered" in trouble
    assert "Delete it" in trouble


def test_hubs_that_cannot_be_reached_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "HUBS", {"nobody": "http://127.0.0.1:9"})
    monkeypatch.setattr(surroundings, "HUB_SECONDS", 0.5)
    assert reachable() == {"nobody": False}


def diagnosis(**parts) -> Diagnosis:
    whole = {
        "facts": machine_facts(), "space": space(), "versions": {"torch": "2.13"}, "extras": [], "hubs": {},
        "caches": [], "measured": None, "kept": {}, "steps": [Step("train", 1.0)],
    }  # fmt: skip
    return Diagnosis(**{**whole, **parts})


def test_troubles_are_gathered() -> None:
    assert diagnosis().troubles == []
    found = diagnosis(
        versions={"torch": "missing"},
        caches=["x is damaged."],
        steps=[Step("train", 1.0, trouble="It broke."), Step("export", 0.0, skipped="No transformers.")],
    ).troubles
    assert found == ["x is damaged.", "train: It broke.", "The library torch is missing."]


def test_a_report_names_no_folder_of_the_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    found = diagnosis(caches=[f"{tmp_path}/.cache/prepared/x is damaged."]).to_dict()
    assert str(tmp_path) not in json.dumps(found)
    assert found["caches"] == ["~/.cache/prepared/x is damaged."]


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The command with one small shape and small products, so that it takes seconds."""
    small = {"SHAPES": ((1, 64),), "PRODUCT": 64, "COPIED": 1_000_000, "REPEATS": 1}
    for name, value in small.items():
        monkeypatch.setattr(measure, name, value)
    found = [Step("train", 0.1), Step("export", 0.0, skipped="no transformers")]
    monkeypatch.setattr(checks, "check", lambda: iter(found))

    def call(*options: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(["doctor", "--offline", *options])
        return int(exit_.value.code or 0), capsys.readouterr().out

    return call


def test_the_command_shows_everything(doctor: Callable[..., tuple[int, str]]) -> None:
    status, output = doctor()
    assert status == 0, output
    for part in (
        "This machine",
        "How fast it is",
        "What is installed",
        "Does it work?",
        "Everything works here.",
    ):
        assert part in output
    assert "not tried: no transformers" in output


def test_its_json_is_json_and_its_trouble_a_status(
    doctor: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output = doctor("--json")
    found = json.loads(output)
    assert status == 0
    assert found["measured"]["updates"]
    assert found["troubles"] == []
    monkeypatch.setattr(checks, "check", lambda: iter([Step("train", 0.1, trouble="It broke.")]))
    status, output = doctor("--json")
    assert status == 1
    assert json.loads(output)["troubles"] == ["train: It broke."]
