"""A moved project finds its text; a text that has changed is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from glassgpt import config as configs
from glassgpt.errors import RunError
from glassgpt.finetuning.run import resume_finetuning
from glassgpt.pretraining.places import find_text
from glassgpt.pretraining.recipes import read_recipe
from glassgpt.pretraining.run import resume_run, start_run
from glassgpt.runs.config import RunConfig
from glassgpt.runs.directory import RunDirectory
from glassgpt.runs.opening import open_run
from glassgpt.runs.reading import read_config

OLD = (
    Path(__file__).parents[1] / "fixtures" / "runs-0.1.0"
)  # its files name /home/ada/garden, which is not there
TEXT = "The cat sat on the mat. The dog sat on the log. A bird sang to the cat and the dog.\n\n" * 60
TINY = {
    "tokenizer": {"vocab_size": 300},
    "model": {"context_length": 16, "n_layer": 1, "n_head": 2, "n_embd": 16},
    "training": {"steps": 4, "evaluate_every": 2, "batch_size": 4, "precision": "float32", "threads": 1},
    "samples": {"max_tokens": 4},
}


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of an older version, moved from the place in its files and used from a third folder."""
    folder = Path(shutil.copytree(OLD, tmp_path / "new place" / "garden"))
    monkeypatch.setenv("GLASSGPT_RUNS", str(folder / "runs"))
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_moved_training_continues(moved: Path) -> None:
    """`resume` once looked for the text only at its old absolute path."""
    run = resume_run("garden").directory
    assert read_config(run).corpus.sources == (str(moved / "garden.txt"),)


def test_a_moved_fine_tuning_continues_with_its_base_and_its_data(moved: Path) -> None:
    assert resume_finetuning("polite").finished.step == 8
    assert open_run("polite").lineage.weights.step in (4, 8)


def test_a_moved_text_is_found_where_it_is_named(moved: Path) -> None:
    elsewhere = moved.parent.parent / "texts"
    elsewhere.mkdir()
    shutil.move(moved / "garden.txt", elsewhere / "renamed.txt")
    with pytest.raises(RunError, match=r"no longer exists.*resume .*garden.* --corpus\.sources PATH"):
        resume_run("garden")
    with pytest.raises(RunError, match="its hash differs"):
        resume_run("garden", sources=[str(moved / "asked.json")])
    run = resume_run("garden", sources=[str(elsewhere / "renamed.txt")]).directory
    assert find_text(run, read_config(run)).corpus.sources == (str(elsewhere / "renamed.txt"),)  # noted


def test_a_run_that_was_killed_before_it_was_described_takes_the_text_that_is_named(moved: Path) -> None:
    """`--corpus.sources` was once ignored for such a run: the text was reported missing at its old place."""
    run = RunDirectory(moved / "runs" / "garden")
    for path in run.path.iterdir():
        if path != run.config:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = resume_run("garden", sources=[str(moved / "garden.txt")])
    assert done.finished.step == 20
    assert read_config(run).corpus.sources == (str(moved / "garden.txt"),)


def test_a_moved_and_changed_text_is_refused(moved: Path) -> None:
    path = moved / "garden.txt"
    path.write_text(path.read_text() + "One more line.\n")
    with pytest.raises(RunError, match=r"not the same: it has changed since the run began"):
        resume_run("garden")
    records = moved / "asked.json"
    records.write_text(records.read_text() + " ")
    with pytest.raises(RunError, match=r"not the same: it has changed since the run began"):
        resume_finetuning("polite")


def test_a_text_in_the_current_folder_is_found(moved: Path) -> None:
    shutil.move(moved / "garden.txt", Path.cwd() / "garden.txt")
    assert resume_run("garden").finished.step == 20


def test_a_moved_base_of_other_weights_is_refused(moved: Path) -> None:
    lineage = moved / "runs/whole/lineage.json"
    lineage.write_text(lineage.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(RunError, match="was made from whole with the weights"):
        resume_finetuning("polite")


def test_the_config_of_a_moved_run_repeats_it(moved: Path) -> None:
    values = read_recipe(str(moved / "runs/garden/config.toml"))
    assert values["corpus"]["sources"] == [str(moved / "garden.txt")]


@pytest.mark.slow
def test_folders_patterns_and_a_tokenizer_file_move_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    (project / "texts" / "more [1]").mkdir(parents=True)
    (project / "texts" / "a.txt").write_text(TEXT)
    (project / "texts" / "more [1]" / "b.txt").write_text(TEXT.replace("cat", "fox"))
    monkeypatch.chdir(project)
    values = {"corpus": {"sources": ["texts/*.txt", "texts/more [1]"]}, **TINY}
    first = start_run(configs.from_dict(RunConfig, values, origin="test"), name="first").directory
    shutil.move(first.tokenizer, project / "vocabulary.json")
    shutil.copy(project / "vocabulary.json", first.tokenizer)
    values = {**values, "tokenizer": {"name": "vocabulary.json"}}
    start_run(configs.from_dict(RunConfig, values, origin="test"), name="second")
    monkeypatch.chdir(tmp_path)
    shutil.move(project, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "vocabulary.json").unlink()
    monkeypatch.setenv("GLASSGPT_RUNS", str(tmp_path / "elsewhere" / "runs"))
    for name in ("first", "second"):
        run = RunDirectory(tmp_path / "elsewhere" / "runs" / name)
        assert resume_run(name).finished.step == 4
        assert read_config(run).corpus.sources == (
            f"{tmp_path}/elsewhere/texts/*.txt",
            f"{tmp_path}/elsewhere/texts/more [1]",
        )
