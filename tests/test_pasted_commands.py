"""Each printed command works when it is pasted: the test creates the situation, reads its message and runs the line.

A command counts as printed if the source calls `commands.command`, or contains a literal `glassgpt ...` that is not a
docstring. Each such place has a situation here or is in `CANNOT_RUN` with a reason, so a new one fails until it has
either. The project's folder has a space and quotes in its name. Most lines are run in this process, with the words
that a shell would pass; a few are pasted into `sh`.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import glassgpt
from glassgpt.cli import verdict
from glassgpt.cli.main import main
from glassgpt.runs.directory import find_run

PACKAGE = Path(glassgpt.__path__[0])
TEXT = "The cat sat on the mat. The dog sat on the log. A bird sang to the cat and the dog.\n\n" * 60
SMALL = (
    "--training.steps=2", "--training.batch-size=4", "--training.threads=1", "--training.precision=float32",
    "--training.sample-every=0", "--model.context-length=48", "--model.n-layer=1", "--model.n-head=2",
    "--model.n-embd=16", "--tokenizer.vocab-size=280",
)  # fmt: skip
FEW = ("--training.steps=2", "--training.threads=1", "--training.precision=float32", "--samples.max-tokens=4")
RECORDS = [{"instruction": f"Say {n}.", "output": f"The cat says {n}."} for n in range(12)]
LABELLED = [{"text": f"The {name} number {n}", "label": name} for n in range(12) for name in ("cat", "dog")]
FIRST_LINE = re.compile(r"glassgpt [^\n]*")


class Project:
    """A folder with texts and runs, in which commands are called."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def call(self, *words: str) -> tuple[int, str]:
        """Call the command line in this process; return its status and all that it printed."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(list(words))
        printed = self.capsys.readouterr()
        code = exit_.value.code
        return (code if isinstance(code, int) else 0), printed.out + printed.err

    def refused(self, *words: str) -> str:
        """Return what a failing command prints."""
        status, printed = self.call(*words)
        assert status == 1, printed
        return printed

    def done(self, *words: str) -> str:
        """Return what a succeeding command prints."""
        status, printed = self.call(*words)
        assert status == 0, printed
        return printed


def line_of(printed: str, before: str) -> str:
    """Return the command after some words in what was printed, without the end of the sentence."""
    _, found, rest = printed.partition(before)
    assert found, (before, printed)
    line = FIRST_LINE.search(rest)
    assert line is not None, printed
    command = line[0].partition("`")[0].rstrip()
    command = command[: command.index("), or delete")] if "), or delete" in command else command
    return command.removesuffix(".")


def filled(line: str, **words: str) -> str:
    """Replace words such as RUN and DATA as a user would."""
    for name, value in words.items():
        assert re.search(rf"\b{name}\b", line), (name, line)
        line = re.sub(rf"\b{name}\b", value, line)
    return line


def paste(project: Project, line: str) -> str:
    """Run a printed line in this process, with the words that a shell makes of it."""
    program, *words = shlex.split(line)
    assert program == "glassgpt"
    return project.done(*words)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a trained run. Copy it, never change it."""
    folder = tmp_path_factory.mktemp("pasted") / 'it\'s a "small" project'
    folder.mkdir()
    (folder / "my text.txt").write_text(TEXT)
    (folder / "records.json").write_text(json.dumps(RECORDS))
    (folder / "labelled.json").write_text(json.dumps(LABELLED))
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSGPT_CACHE", str(folder / "cache"))
        patch.delenv("GLASSGPT_RUNS", raising=False)
        with pytest.raises(SystemExit) as exit_:
            main(["train", "my text.txt", *SMALL, "--name", "a tale"])
    assert not exit_.value.code
    return folder


@pytest.fixture
def project(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Project:
    folder = tmp_path / 'it\'s a "small" project'
    shutil.copytree(finished, folder)
    config = folder / "runs/a tale/config.toml"  # the copy names its own text
    there, here = (json.dumps(str(path))[1:-1] for path in (finished, folder))
    config.write_text(config.read_text().replace(there, here))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GLASSGPT_CACHE", str(folder / "cache"))
    monkeypatch.delenv("GLASSGPT_RUNS", raising=False)
    return Project(folder, capsys)


# Each place that prints a command: the module, and the words of the call or the literal, as `places` writes them.


def train_says_generate(project: Project) -> None:
    printed = project.done("train", "my text.txt", *SMALL, "--name", "it's new")
    assert "The cat" in paste(project, line_of(printed, "Ask it for more:") + " 'The cat' --max-tokens 4")


def sft_says_chat(project: Project) -> None:
    printed = project.done("finetune", "sft", "a tale", "records.json", *FEW)
    line = line_of(printed, "Ask it for more:")
    assert line.startswith("glassgpt chat")
    assert "Talking with" in shell(project, line, typed="Say 1.\n/quit\n")


def answers_as_text_say_sft(project: Project) -> None:
    rows = [f"Say {number}.,The cat says {number}.\n" for number in range(12)]
    Path("my answers.csv").write_text("question,answer\n" + "".join(rows))
    line = line_of(project.refused("train", "my answers.csv"), "answer instead:")
    paste(project, filled(line, RUN="latest") + " " + " ".join(FEW))
    rows = [{"question": f"Say {number}.", "answer": f"The cat says {number}."} for number in range(12)]
    Path("lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert line_of(project.refused("train", "lines.jsonl"), "answer instead:").endswith("sft RUN lines.jsonl")


def records_of_texts_say_eval_text_field(project: Project) -> None:
    project.done("finetune", "sft", "a tale", "records.json", *FEW, "--name", "answers")
    Path("some texts.jsonl").write_text(json.dumps({"text": TEXT}) + "\n")
    printed = project.refused("eval", "answers", "some texts.jsonl")
    assert "nats a token" in paste(project, line_of(printed, "measure it as such:"))


def records_that_changed_say_eval_text(project: Project) -> None:
    project.done("finetune", "sft", "a tale", "records.json", *FEW, "--name", "answers")
    Path("records.json").write_text(json.dumps(RECORDS[1:]))
    printed = project.refused("eval", "answers")
    paste(project, filled(line_of(printed, "on a text:"), TEXT="'my text.txt'"))


def classify_says_classify(project: Project) -> None:
    """A run that cannot classify says how to teach it; the fine-tuning then says how to use it."""
    printed = project.refused("classify", "a tale", "The cat")
    line = filled(line_of(printed, "Teach it with:"), DATA="labelled.json")
    line = line_of(paste(project, line + " " + " ".join(FEW[:-1])), "Ask it for more:")
    assert "cat" in paste(project, line)
    made = "a-tale-classify-1"
    printed = project.refused("classify", made, " ")
    assert "dog" in paste(project, filled(line_of(printed, "Give one:"), RUN=made))
    printed = project.done("export", made, "--to", "hf", "--output", "exported")
    assert "cat" in paste(project, filled(line_of(printed, "Use the labels with:"), TEXT="'The cat'"))
    Path(f"runs/{made}/labels.json").write_text("[]")
    printed = project.refused("classify", made, "The cat")
    paste(project, line_of(printed, "make the classifier again with:") + " --name again")
    assert settings_of(Path("runs/again")) == settings_of(Path(f"runs/{made}"))


def a_stopped_run_says_resume(project: Project) -> None:
    """A Ctrl-C, as the trainer gets it: SIGINT in the middle of a training."""
    printed = stopped(project)
    line = line_of(printed, "Resume with:")
    assert f"Continue it with: <code>{line}</code>" in Path("runs/stopped/report.html").read_text()
    assert "Best validation loss" in paste(project, line)
    assert line not in Path("runs/stopped/report.html").read_text()


def stopped(project: Project) -> str:
    """Return what a training prints when a signal ends it."""
    words = ["train", "my text.txt", "--training.steps=1500", *SMALL[1:], "--name", "stopped"]
    words += ["--training.evaluate-every=100"]
    process = subprocess.Popen(
        [sys.executable, "-m", "glassgpt", *words], stdout=subprocess.PIPE, text=True, cwd=project.folder
    )
    metrics = project.folder / "runs/stopped/metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size > 0):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.send_signal(2)
    printed, _ = process.communicate()
    assert process.returncode == 130, printed
    return printed


def a_base_model_says_sft(project: Project) -> None:
    printed = project.refused("chat", "a tale", "--system", "Be kind.")
    line = filled(line_of(printed, "Teach it to answer first:"), DATA="records.json")
    paste(project, line + " " + " ".join(FEW))
    assert "Talking with" in shell(project, "glassgpt chat latest --system 'Be kind.'", typed="/quit\n")


def chat_with_a_base_model_says_sft(project: Project) -> None:
    printed = shell(project, "glassgpt chat 'a tale'", typed="/quit\n")
    paste(project, filled(line_of(printed, "Teach it to answer:"), DATA="records.json") + " " + " ".join(FEW))


def import_says_generate_or_chat(project: Project) -> None:
    """An imported model without a chat template continues text; one with a template chats."""
    project.done("export", "a tale", "--to", "hf", "--output", "for the hub")
    printed = project.done("import", "for the hub", "--name", "came back")
    paste(project, line_of(printed, "Let it write:") + " --max-tokens 4")
    printed = project.refused("finetune", "distill", "came back", *FEW)
    paste(
        project,
        filled(line_of(printed, "Name a text:"), TEXT="'my text.txt'")
        + " --width 8 --layers 1 "
        + " ".join(FEW),
    )
    printed = project.refused("eval", "came back", "--split", "validation")
    line = filled(line_of(printed, "Name a text to measure its loss on:"), TEXT="'my text.txt'")
    assert "bits per byte" in paste(project, line)
    project.done("finetune", "sft", "a tale", "records.json", *FEW)
    project.done("export", "latest", "--to", "hf", "--output", "it talks")
    printed = project.done("import", "it talks", "--name", "talks")
    assert "Talking with" in shell(project, line_of(printed, "Talk with it:"), typed="/quit\n")


def plan_says_train(project: Project) -> None:
    printed = project.done("plan", "my text.txt", "--minutes", "0.06", "--device", "cpu")
    line = line_of(printed, "Train it with:")
    assert line == 'glassgpt train "my text.txt" --minutes 0.06 --training.device cpu'
    assert "Best validation loss" in paste(project, line)


def a_plan_that_is_written_says_train(project: Project) -> None:
    printed = project.done("plan", "my text.txt", "--minutes", "0.06", "--output", "a 'plan'.toml")
    assert "Best validation loss" in paste(project, line_of(printed, "Train it with:"))


def a_run_without_weights_says_resume(project: Project) -> None:
    stopped(project)
    config = Path("runs/stopped/config.toml")
    config.write_text(config.read_text().replace("steps = 1500", "steps = 2"))
    shutil.rmtree("runs/stopped/checkpoints")
    Path("runs/stopped/model.safetensors").unlink(missing_ok=True)
    printed = project.refused("generate", "stopped")
    assert "Best validation loss" in paste(project, line_of(printed, "Continue its training with:"))


def altered_weights_say_resume(project: Project) -> None:
    weights = Path("runs/a tale/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8] + b"12345678")
    line = line_of(project.refused("generate", "a tale"), "from the checkpoints:")
    weights.unlink()  # as the message says
    paste(project, line)
    project.done("generate", "a tale", "--max-tokens", "4")


def damaged_weights_say_resume(project: Project) -> None:
    """Weights of an older version have no hash, so damage is only found when they are read."""
    weights, lineage = Path("runs/a tale/model.safetensors"), Path("runs/a tale/lineage.json")
    facts = json.loads(lineage.read_text())
    del facts["weights"]["sha256"]
    lineage.write_text(json.dumps(facts))
    weights.write_bytes(weights.read_bytes()[:40])
    printed = project.refused("generate", "a tale")
    paste(project, line_of(printed, "from the checkpoints with:  "))
    project.done("generate", "a tale", "--max-tokens", "4")


def a_damaged_lineage_says_how_to_repeat(project: Project) -> None:
    Path("runs/a tale/lineage.json").write_text("{}")
    printed = project.refused("generate", "a tale")
    assert "Best validation loss" in paste(project, line_of(printed, "of these settings:"))


def a_damaged_fine_tuning_says_how_to_repeat(project: Project) -> None:
    unusual = ("--training.learning-rate=0.00037", "--validation=0.25", "--template=alpaca", "--lora.rank=2")
    project.done("finetune", "sft", "a tale", "records.json", *FEW, *unusual, "--name", "answers")
    Path("runs/answers/lineage.json").write_text("{}")
    printed = project.refused("generate", "answers")
    os.chdir(project.folder.parent)  # a run is found from any folder
    paste(project, line_of(printed, "of these settings:") + " --name again")
    assert settings_of(Path("runs/again")) == settings_of(project.folder / "runs/answers")


def other_amounts_say_how_to_begin_again(project: Project) -> None:
    """A version that reads more or fewer records from the same files does not continue a run of another version."""
    project.done("finetune", "sft", "a tale", "records.json", *FEW, "--name", "answers")
    lineage = Path("runs/answers/lineage.json")
    facts = json.loads(lineage.read_text())
    facts["data"]["documents"] += 1
    lineage.write_text(json.dumps(facts))
    printed = project.refused("resume", "answers")
    paste(project, line_of(printed, "start a new run with:") + " --name again")
    assert settings_of(Path("runs/again")) == settings_of(Path("runs/answers"))


def settings_of(run: Path) -> dict[str, object]:
    return tomllib.loads((run / "finetune.toml").read_text())


def a_damaged_config_says_how_the_run_was_begun(project: Project) -> None:
    lineage = Path("runs/a tale/lineage.json")
    facts = json.loads(lineage.read_text())
    facts["command"] = ["glassgpt", "train", "my text.txt", *SMALL, "--training.seed", "-1", "--name=begun"]
    lineage.write_text(json.dumps(facts))
    Path("runs/a tale/config.toml").write_text("")
    printed = project.refused("generate", "a tale")
    line = line_of(printed, "The run was begun with:")
    assert shlex.split(line) == facts["command"]
    paste(project, line.replace("-1", "1"))


def a_moved_text_says_resume(project: Project) -> None:
    Path("my text.txt").rename("my moved text.txt")
    printed = project.refused("resume", "a tale")
    moved = "'my moved text.txt'"
    rest = paste(
        project, line_of(project.refused("eval", "a tale"), "can still be measured:") + " --samples 2"
    )
    assert "grammar" in rest
    measured = filled(line_of(project.refused("eval", "a tale"), "give its new place:"), PATH=moved)
    assert "bits per byte" in paste(project, measured)
    paste(project, filled(line_of(printed, "give its new place:"), PATH=moved))
    project.done("eval", "a tale")  # the resumed run has stored where its text is


def a_taken_name_says_resume(project: Project) -> None:
    printed = project.refused("train", "my text.txt", *SMALL, "--name", "a tale")
    paste(project, line_of(printed, "continue it ("))


def nothing_left_says_data_inspect(project: Project) -> None:
    Path("no text.txt").write_text("\n")
    for words in (
        ("train", "no text.txt", *SMALL),
        ("plan", "no text.txt"),
        ("train", "no text.txt", *SMALL[:-1], "--tokenizer.name", "runs/a tale"),
    ):
        line = line_of(project.refused(*words), "What is there:")
        assert "No text is left" in paste(project, line)


def runs_say_train(project: Project) -> None:
    os.environ["GLASSGPT_RUNS"] = "no runs"
    printed = (project.done("runs"), project.refused("generate", "latest"))
    few = ["'my text.txt'", *SMALL]
    for number, text in enumerate(printed):
        paste(project, " ".join([line_of(text, "Make one with:"), *few, f"--name=run{number}"]))
    del os.environ["GLASSGPT_RUNS"]


def runs_compare_says_how(project: Project) -> None:
    shutil.copytree("runs/a tale", "runs/other")
    printed = project.refused("runs", "compare")
    line = filled(line_of(printed, "at least two runs:"), A="'a tale'", B="other")
    assert "Validation curves" in paste(project, line)


def a_sweep_says_what_comes_next(project: Project) -> None:
    """Its best run, the comparison of its runs, and their list."""
    printed = project.done("sweep", "my text.txt", *SMALL, "--seeds", "2", "--name", "a sweep")
    assert "Validation curves" in paste(project, line_of(printed, "Its curves:"))
    assert "a sweep-seed=1338" in paste(project, line_of(printed, "Its runs:"))
    assert "Best validation loss" in paste(project, line_of(printed, "Repeat it with:"))


def a_packed_run_says_how_to_use_it(project: Project) -> None:
    printed = project.done("runs", "pack", "a tale", "--to", "for you")
    assert "finished" in paste(project, line_of(printed, "Try it:"))
    line = line_of(Path("for you/README.md").read_text(), "Install GlassGPT, then:")
    assert paste(project, line + " --max-tokens 4")
    Path("runs/a tale/model.safetensors").unlink()
    printed = project.refused("runs", "pack", "a tale", "--to", "again")
    paste(project, line_of(printed, "Finish it first:"))
    project.done("runs", "pack", "a tale", "--to", "again")


def runs_that_are_removed_say_restore(project: Project) -> None:
    printed = project.done("runs", "remove", "a tale")
    assert "is back" in paste(project, line_of(printed, "Bring it back with:"))
    assert "a tale" in paste(project, line_of(project.refused("runs", "remove"), "`"))
    assert "a tale" in paste(project, line_of(project.refused("runs", "b*"), "`"))
    line = line_of(project.refused("runs", "shows"), "the command")
    printed = paste(project, line + " 'a tale'")
    assert paste(project, line_of(printed, "Use it:") + " --max-tokens 4")


def names_that_lead_nowhere_say_runs(project: Project) -> None:
    Path("folder").mkdir()
    for name in ("folder", ""):
        line = line_of(project.refused("generate", name), "`")
        assert line == "glassgpt runs"
    assert "a tale" in shell(project, line)


def a_prompt_in_place_of_a_run_says_generate(project: Project) -> None:
    printed = project.refused("generate", "Once upon a 'time'", "--max-tokens=4")
    assert "Once upon a 'time'" in shell(project, line_of(printed, "with the newest run:"))


def a_foreign_model_says_import(project: Project) -> None:
    project.done("export", "a tale", "--to", "hf", "--output", "for the hub")
    printed = project.refused("generate", "for the hub", "The cat", "--max-tokens=4")
    assert "The cat" in shell(project, line_of(printed, "It is imported first:"))
    paste(project, line_of(project.refused("resume", "for-the-hub"), "Let it write:") + " --max-tokens 4")


def a_text_in_place_of_a_run_says_train(project: Project) -> None:
    few = " ".join([*SMALL, "--name new"])
    paste(project, line_of(project.refused("generate", "my text.txt"), "Train a run on it:") + f" {few}")
    os.environ["GLASSGPT_RUNS"] = "no runs"
    printed = project.refused("generate", "Once upon")
    paste(project, f"{line_of(printed, 'Make one first:')} 'my text.txt' {few}")
    del os.environ["GLASSGPT_RUNS"]


def a_text_in_place_of_a_command_says_train(project: Project) -> None:
    status, printed = project.call("my text.txt")
    assert status == 2
    paste(project, f"{line_of(printed, 'To train on this text:')} {' '.join(SMALL)}")


def an_overfitted_run_says_eval(project: Project) -> None:
    run = project.folder / "runs/a tale/metrics.jsonl"
    best, worse = (
        json.dumps({"event": "evaluation", "step": step, "loss": loss, "perplexity": 9.0, "bits_per_byte": 2.0,
                    "best": step == 2, "tokens": 9, "seconds": 1.0})
        for step, loss in ((2, 2.0), (9, 3.0))
    )  # fmt: skip
    run.write_text(f"{best}\n{worse}\n")
    console = Console(file=io.StringIO(), width=200)
    verdict.say_trained(console, SimpleNamespace(directory=find_run("a tale")))
    paste(project, line_of(console.file.getvalue(), "Whether it recites:"))


SITUATIONS: dict[Callable[[Project], None], tuple[str, ...]] = {
    an_overfitted_run_says_eval: ("cli/verdict.py: eval run.handle tasks",),
    train_says_generate: ("runs/reading.py: name directory.handle",),
    sft_says_chat: (),
    records_of_texts_say_eval_text_field: ("finetuning/measuring.py: eval run.directory.handle text_field",),
    records_that_changed_say_eval_text: ("finetuning/measuring.py: eval run.directory.handle TEXT",),
    answers_as_text_say_sft: ("corpus/records.py: finetune sft RUN file",),
    classify_says_classify: (
        "runs/reading.py: classify directory.handle a text",
        "finetuning/classify.py: finetune classify run.directory.handle DATA",
        'cli/classify.py: glassgpt classify RUN "text"',
        "interop/exports.py: classify run.directory.handle TEXT",
    ),
    a_stopped_run_says_resume: (
        "cli/session.py: resume outcome.directory.handle",
        "runs/report.py: resume run.name",
    ),
    a_base_model_says_sft: ("cli/chat.py: finetune sft run.directory.handle DATA",),
    chat_with_a_base_model_says_sft: (),
    import_says_generate_or_chat: (
        "cli/import_.py: generate run.handle Once upon a time",
        "cli/import_.py: chat run.handle",
        "finetuning/distill.py: finetune distill start.run.directory.handle TEXT",
        "pretraining/measuring.py: eval run.directory.handle TEXT",
        "pretraining/data.py: glassgpt eval RUN FILE",
        "pretraining/data.py: glassgpt finetune",
    ),
    plan_says_train: ("cli/plan.py: train",),
    a_plan_that_is_written_says_train: ("cli/plan.py: train recipe",),
    a_run_without_weights_says_resume: ("runs/opening.py: resume directory.handle",),
    altered_weights_say_resume: ("runs/opening.py: resume directory.handle",),
    damaged_weights_say_resume: ("runs/opening.py: resume directory.handle",),
    a_damaged_lineage_says_how_to_repeat: ("runs/reading.py: train config",),
    a_damaged_fine_tuning_says_how_to_repeat: (
        "runs/reading.py: finetune values['kind'] values['base'] config",
    ),
    a_damaged_config_says_how_the_run_was_begun: (),
    other_amounts_say_how_to_begin_again: ("finetuning/choice.py: finetune choice.kind choice.base config",),
    a_moved_text_says_resume: (
        "runs/places.py: ask directory.handle",
        "cli/loss.py: eval run.directory.handle tasks",
    ),
    a_taken_name_says_resume: ("runs/directory.py: resume RunDirectory(path).handle",),
    nothing_left_says_data_inspect: ("corpus/sources.py: data inspect",),
    runs_say_train: ("cli/runs.py: glassgpt train", "runs/directory.py: glassgpt train"),
    a_text_in_place_of_a_command_says_train: ("cli/guesses.py: train word",),
    runs_compare_says_how: ("cli/compare.py: glassgpt runs compare A B",),
    a_sweep_says_what_comes_next: (
        "cli/sweep.py: runs compare f'{sweep.name}-*'",
        "cli/sweep.py: runs f'{sweep.name}-*'",
    ),
    a_packed_run_says_how_to_use_it: (
        "cli/pack.py: runs show folder",
        "runs/packing.py: answers f'./{folder}'",
        "runs/packing.py: resume run.handle",
    ),
    runs_that_are_removed_say_restore: (
        "cli/runs_keep.py: runs restore path.name",
        "cli/runs_keep.py: glassgpt runs",
        "runs/listing.py: glassgpt runs",
        "cli/runs.py: glassgpt runs",
        "cli/runs_show.py: resume directory.handle",
    ),
    names_that_lead_nowhere_say_runs: ("runs/directory.py: glassgpt runs",),
    a_prompt_in_place_of_a_run_says_generate: (),
    a_foreign_model_says_import: (
        "cli/meant.py: import source name",
        "cli/resume.py: generate directory.handle",
    ),
    a_text_in_place_of_a_run_says_train: ("cli/meant.py: train word", "cli/meant.py: train"),
}

PAGES = "tests/cli/test_pages.py shows every page"
CANNOT_RUN = {
    "runs/packing.py: export run.handle": "needs an adapter; tests/runs/test_packing.py reads it",
    "cli/main.py: glassgpt help why": PAGES,
    "cli/main.py: glassgpt help pages": PAGES,
    "cli/verdict.py: glassgpt help why": PAGES,
    "cli/pages.py: help LIST": PAGES,
    "cli/pages.py: help link[2]": PAGES,
    "evaluation/harness.py: help evaluation": PAGES,
    "cli/evaluate.py: glassgpt eval": "a notice beside the result; tests/cli/test_eval_loss.py runs both names",
    "dataset/shards.py: glassgpt resume": "comes when another program alters the tokens while a run reads them",
    "runs/claim.py: resume claim.run.handle": "needs a full disk; the words are those of runs/directory.py",
    "system.py: glassgpt resume": "needs a full disk",
    "cli/doctor.py: glassgpt doctor --again": "measures for minutes, and only where other programs are busy",
    "cli/main.py: glassgpt train --minutes": "trains for minutes; tests/walks types it with fewer",
    "cli/main.py: glassgpt plan TEXT --minutes": "measures for long; tests/walks types it with fewer minutes",
    "cli/meant.py: train": "trains a base for minutes; tests/walks types it with fewer",
    "serving/chats.py: finetune sft loaded.name DATA": "an answer over HTTP; tests/serving/test_chats.py reads it",
    "serving/server.py: serve run port": "serves until it is stopped; tests/serving/test_server.py reads it",
    "serving/server.py: glassgpt serve": "serves until it is stopped; tests/serving/test_server.py reads it",
    "cli/main.py: glassgpt doctor": "measures for minutes; tests/doctor runs it",
    "architectures/families.py: glassgpt export --to onnx": "takes a minute; tests/interop exports to ONNX",
    "architectures/weights.py: glassgpt export --to onnx": "takes a minute; tests/interop exports to ONNX",
}

QUICK = {
    classify_says_classify,
    a_damaged_lineage_says_how_to_repeat,
    a_damaged_config_says_how_the_run_was_begun,
    a_taken_name_says_resume,
    a_moved_text_says_resume,
    altered_weights_say_resume,
    names_that_lead_nowhere_say_runs,
    a_prompt_in_place_of_a_run_says_generate,
    nothing_left_says_data_inspect,
    runs_compare_says_how,
    a_packed_run_says_how_to_use_it,
    runs_that_are_removed_say_restore,
    train_says_generate,
}


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(each, id=each.__name__, marks=[] if each in QUICK else [pytest.mark.slow])
        for each in SITUATIONS
    ],
)
def test_what_is_printed_works_when_it_is_pasted(
    situation: Callable[[Project], None], project: Project
) -> None:
    situation(project)


def test_each_place_that_prints_a_command_is_pasted_or_has_a_reason() -> None:
    known = Counter(place for places in SITUATIONS.values() for place in places)
    known.update(CANNOT_RUN.keys())
    answers = (
        PACKAGE / "cli" / "elsewhere.py"
    )  # to other programs' words: tests/cli/test_guesses.py looks at each
    files = sorted(path for path in PACKAGE.rglob("*.py") if path != answers)
    found = Counter(place for path in files for place in places(path))
    assert found - known == Counter(), "a printed command that no situation above pastes"
    assert known - found == Counter(), "a situation for a command that is printed no more"


def places(path: Path) -> list[str]:
    """Return where a module prints a command: each call of `command`, and each literal `glassgpt ...`."""
    tree, name = ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(PACKAGE))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    descriptions = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    helps = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Kind"]
    descriptions |= {id(keyword.value) for call in helps for keyword in call.keywords}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "command":
            words = [_word(word) for word in node.args if not isinstance(word, ast.Starred)]
            words += [keyword.arg for keyword in node.keywords if keyword.arg not in (None, "minutes")]
            if words:  # otherwise it is a past command line, which is a situation, too
                found.append(f"{name}: {' '.join(map(str, words))}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in descriptions:
            found += [f"{name}: {line.rstrip(' .')}" for line in LITERAL.findall(node.value)]
    return found


LITERAL = re.compile(
    r"(?<=[ (`])glassgpt [a-z]+(?: (?!is\b|to\b|shows|lists|can\b|on\b)(?:[a-z]+\b|[A-Z]+\b|--[a-z]+|\"text\"))*"
)


def _word(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def shell(project: Project, line: str, typed: str = "") -> str:
    """Paste a line into `sh`, with something typed after it; return what it prints, once it has succeeded."""
    programs = project.folder / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / "glassgpt"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m glassgpt "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(PACKAGE.parent)}
    ran = subprocess.run(["sh", "-c", line], input=typed, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, (line, ran.stdout, ran.stderr)
    return ran.stdout + ran.stderr
