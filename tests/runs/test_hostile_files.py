"""Whatever the files of a run contain, opening, listing and resuming give a result or a clear error."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glassgpt import config as configs
from glassgpt import files
from glassgpt.errors import GlassGPTError, RunError
from glassgpt.finetuning.choice import read_choice
from glassgpt.pretraining.run import resume_run
from glassgpt.runs.checkpoints import CheckpointStore
from glassgpt.runs.directory import RunDirectory, list_runs
from glassgpt.runs.listing import as_csv, facts
from glassgpt.runs.opening import open_run
from glassgpt.runs.reading import read_comparison, read_config
from glassgpt.runs.records import MetricsFile, read_events
from glassgpt.runs.summary import summarize

EXAMPLES = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
FINETUNE = (Path(__file__).parents[1] / "fixtures/runs-0.1.0/runs/polite/finetune.toml").read_bytes()
COMPARISON = {
    "numbers": {"held-out loss": [4.0, 3.5]},
    "samples": [{"prompt": "a", "before": "b", "after": "c"}],
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.just(10**40),
    st.just("1" * 300),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Every place inside a JSON value."""
    found = [path]
    if isinstance(value, dict):
        found += [place for key, item in value.items() for place in places(item, (*path, key))]
    elif isinstance(value, list):
        found += [place for index, item in enumerate(value) for place in places(item, (*path, index))]
    return found


@st.composite
def altered_json(draw: st.DrawFn, original: Any) -> Any:
    """The value with another value at one place, or without that place."""
    result = copy.deepcopy(original)
    place = draw(st.sampled_from(places(original)))
    if not place:
        return draw(values)
    inside = result
    for key in place[:-1]:
        inside = inside[key]
    if draw(st.booleans()):
        inside[place[-1]] = draw(values)
    else:
        del inside[place[-1]]
    return result


@st.composite
def altered_bytes(draw: st.DrawFn, original: bytes) -> bytes:
    """The bytes cut short, or with others inserted."""
    start = draw(st.integers(0, len(original)))
    end = draw(st.one_of(st.just(start), st.integers(start, len(original)), st.just(len(original))))
    return original[:start] + draw(st.binary(max_size=6)) + original[end:]


def refusal(act: Callable[[], object]) -> str | None:
    """The message that refuses an action, or None. Every other error is raised."""
    try:
        act()
    except GlassGPTError as error:
        return str(error).strip()
    return None


def original_of(run: RunDirectory, file: Path) -> bytes:
    """The original bytes of a file, kept beside the run; every example begins with them."""
    kept = run.path.parent / f"original {file.name}"
    if not kept.exists():
        shutil.copy(file, kept)
    return kept.read_bytes()


def alter(data: st.DataObject, file: Path, original: bytes) -> None:
    """Write a JSON file with another value somewhere in it, or with other bytes."""
    if data.draw(st.booleans()):
        file.write_text(json.dumps(data.draw(altered_json(json.loads(original)))))
    else:
        file.write_bytes(data.draw(altered_bytes(original)))


def look_at_all(run: RunDirectory) -> None:
    """Everything that reads a run but does not train it."""
    assert run.name in [each.name for each in list_runs()]
    assert as_csv([facts(summarize(run), ["training.seed"], [])]).count("\n") == 2
    for act in (
        lambda: open_run(str(run.path)),
        lambda: CheckpointStore(run.checkpoints).load_newest(),
        lambda: read_comparison(run),
        lambda: read_config(run),
    ):
        assert refusal(act) != ""


@EXAMPLES
@given(data=st.data())
def test_lineage(run: RunDirectory, data: st.DataObject) -> None:
    original = original_of(run, run.lineage)
    alter(data, run.lineage, original)
    look_at_all(run)
    run.lineage.write_bytes(original)


@EXAMPLES
@given(data=st.data())
def test_metrics(run: RunDirectory, data: st.DataObject) -> None:
    """One odd line broke `glassgpt runs` for all runs."""
    original = original_of(run, run.metrics)
    lines = original.splitlines(keepends=True)
    index = data.draw(st.integers(0, len(lines) - 1))
    if data.draw(st.booleans()):
        lines[index] = json.dumps(data.draw(altered_json(json.loads(lines[index])))).encode() + b"\n"
        run.metrics.write_bytes(b"".join(lines))
    else:
        run.metrics.write_bytes(data.draw(altered_bytes(original)))
    assert as_csv([facts(summarize(run), ["training.seed"], [])]).count("\n") == 2
    MetricsFile(run.metrics).rewind(8, best=True)
    assert all(event.step <= 8 for event in read_events(run.metrics))


@EXAMPLES
@given(data=st.data())
def test_config(run: RunDirectory, data: st.DataObject) -> None:
    run.config.write_bytes(data.draw(altered_bytes(original_of(run, run.config))))
    look_at_all(run)


@EXAMPLES
@given(data=st.data())
def test_the_state_of_a_checkpoint(run: RunDirectory, data: st.DataObject) -> None:
    newest = CheckpointStore(run.checkpoints).steps()[-1]
    (newest / files.MANIFEST).write_bytes(original_of(run, newest / files.MANIFEST))
    alter(data, newest / "state.json", original_of(run, newest / "state.json"))
    if data.draw(st.booleans()):
        files.seal(newest)
    look_at_all(run)


@EXAMPLES
@given(data=st.data())
def test_the_manifest_of_a_checkpoint(run: RunDirectory, data: st.DataObject) -> None:
    manifest = CheckpointStore(run.checkpoints).steps()[-1] / "manifest.json"
    original = original_of(run, manifest)
    alter(data, manifest, original)
    look_at_all(run)
    manifest.write_bytes(original)


@EXAMPLES
@given(data=st.data())
def test_comparison(run: RunDirectory, data: st.DataObject) -> None:
    alter(data, run.comparison, json.dumps(COMPARISON).encode())
    assert "comparison.json" in (refusal(lambda: read_comparison(run)) or "comparison.json")
    assert summarize(run).state in ("finished", "damaged: comparison.json")


@EXAMPLES
@given(data=st.data())
def test_finetune(run: RunDirectory, data: st.DataObject) -> None:
    run.finetune.write_bytes(data.draw(altered_bytes(FINETUNE)))
    assert as_csv([facts(summarize(run), ["training.seed"], [])]).count("\n") == 2
    assert "finetune.toml" in (refusal(lambda: read_choice(run)) or "finetune.toml")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("lineage.json", "[1]", r"lineage\.json is damaged.*glassgpt train --config"),
        ("lineage.json", "{}", r"lineage\.json is damaged"),
        ("config.toml", "", r"config\.toml is empty.*was begun with:  glassgpt"),
        ("config.toml", "[corpus]\nsources = []\n", r"has no section \[cleaning\]: it was cut short"),
        ("config.toml", "[corp", r"config\.toml is not valid TOML"),
        ("metrics.jsonl", None, r"metrics\.jsonl cannot be read"),
    ],
)
def test_a_damaged_run_is_not_gone_on_with_and_says_why(
    run: RunDirectory, file: str, content: str | None, says: str
) -> None:
    path = run.path / file
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(GlassGPTError, match=says):
        resume_run("first")


def test_a_damaged_run_is_shown_as_such_beside_all_others(run: RunDirectory) -> None:
    others = {}
    for file, line in (
        ("lineage.json", "[1]"),
        ("config.toml", ""),
        ("metrics.jsonl", '{"event": "evaluation", "step": "ten"}\n'),
        ("comparison.json", "{}"),
        ("finetune.toml", ""),
    ):
        others[file] = RunDirectory(Path(shutil.copytree(run.path, run.path.parent / file.split(".")[0])))
        with open(others[file].path / file, "a" if file == "metrics.jsonl" else "w") as opened:
            opened.write(line)
    states = {each.name: summarize(each).state for each in list_runs()}
    assert states.pop("first") == "finished"
    assert states == {
        "lineage": "damaged: lineage.json",
        "config": "damaged: config.toml",
        "metrics": "damaged: metrics.jsonl (1 line)",
        "comparison": "damaged: comparison.json",
        "finetune": "damaged: finetune.toml",
    }


def test_a_checkpoint_of_another_run_is_not_put_into_this_one(run: RunDirectory) -> None:
    """A size that does not fit ended in a traceback from torch."""
    config = read_config(run)
    text = configs.to_toml(config).replace("n_embd = 16", "n_embd = 32")
    run.config.write_text(text)
    with pytest.raises(RunError, match=r"checkpoint of step 12 .* does not fit the model"):
        resume_run("first")


def test_checkpoints_on_a_disk_that_is_not_there_are_not_none(run: RunDirectory) -> None:
    """A link to a disk that was not connected counted as no checkpoints: the run was trained from the beginning."""
    run.weights.unlink()
    shutil.rmtree(run.checkpoints)
    run.checkpoints.symlink_to("/nowhere/big-disk")
    with pytest.raises(RunError, match=r"is a link to /nowhere/big-disk, which does not exist"):
        resume_run("first")


def test_a_lineage_that_is_gone_is_not_made_up(run: RunDirectory) -> None:
    """With checkpoints but no lineage it is unknown whether the text is the same; it was once assumed to be."""
    run.lineage.unlink()
    with pytest.raises(RunError, match=r"lineage\.json is missing"):
        resume_run("first")


def test_a_run_without_checkpoints_but_with_weights_is_not_trained_again(run: RunDirectory) -> None:
    shutil.rmtree(run.checkpoints)
    with pytest.raises(RunError, match=r"was emptied\..*glassgpt train --config"):
        resume_run("first")
