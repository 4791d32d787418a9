"""`glassgpt runs` and its commands, as a person types them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command, refused


@pytest.fixture
def three(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs `small`, `small-2` and `a name of very many words that goes on and on`, with unequal seeds."""
    for number, name in enumerate(("small-2", "a name of very many words that goes on and on until here"), 2):
        shutil.copytree("runs/small", f"runs/{name}")
        config = Path(f"runs/{name}/config.toml")
        config.write_text(config.read_text().replace("seed = 1337", f"seed = {number}"))
    return workplace


def test_the_list_shows_what_differs_and_fits_any_window(
    three: Path, glassgpt: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = json.loads(glassgpt("runs", "small", "--json").output)[0]["loss"]
    for width in (60, 100, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = glassgpt("runs").output.splitlines()
        assert max(map(len, lines[:4])) <= width
        assert sum(f"{loss:.4f}" in line for line in lines) == 3
        assert any(line.startswith("a name of") and "until here" in line for line in lines)
        if width > 60:
            assert "seed" in lines[0]


def test_sorted_filtered_and_for_other_programs(three: Path, glassgpt: Command) -> None:
    rows = json.loads(glassgpt("runs", "small*", "--sort", "name", "--json").output)
    assert [row["name"] for row in rows] == ["small", "small-2"]
    assert [row["training.seed"] for row in rows] == [1337, 2]
    read = list(csv.DictReader(io.StringIO(glassgpt("runs", "--csv", "--sort=name").output)))
    assert [row["name"] for row in read][1:] == ["small", "small-2"]
    assert int(read[0]["bytes"]) > 10_000
    refused(glassgpt("runs", "--csv", "--json"), "--json has no effect with --csv")


def test_a_mistyped_command_is_understood(workplace: Path, glassgpt: Command) -> None:
    refused(glassgpt("runs", "compar", "a"), "glassgpt runs compare")
    refused(glassgpt("runs", "smal"), "Did you mean small?")


def test_one_run_is_shown(three: Path, glassgpt: Command) -> None:
    glassgpt("runs", "note", "small", "the", "$5 [bold]one")
    shown = glassgpt("runs", "show", "small").output
    for part in ("the $5 [bold]one", "6 of 6", "text.txt", "--model.n-layer 1", "glassgpt generate small"):
        assert part in shown, part
    assert "checkpoints" in shown
    assert "$5 [bold]one" in glassgpt("runs").output


def test_a_damaged_run_is_shown_as_damaged(three: Path, glassgpt: Command) -> None:
    Path("runs/small-2/config.toml").write_text("no TOML")
    Path("runs/small/lineage.json").write_text("{")
    assert "damaged: config.toml" in glassgpt("runs").output
    assert "damaged: lineage.json" in glassgpt("runs", "show", "small").output
    assert glassgpt("runs", "compare", "small", "a name*").status == 0


def test_renamed_removed_restored_and_pruned(three: Path, glassgpt: Command) -> None:
    assert "second is" not in glassgpt("runs", "rename", "small-2", "second").output
    removed = glassgpt("runs", "remove", "second", "a name*")
    assert removed.output.count("was moved to") == 2
    assert "second" not in glassgpt("runs").output
    assert "second" in glassgpt("runs", "restore").output
    assert glassgpt("runs", "restore", "second").output.strip() == "second is back."
    assert "second: " in glassgpt("runs", "prune", "sec*").output
    assert glassgpt("runs", "prune").output.count("freed") == 2
    assert glassgpt("generate", "second", "The", "--max-tokens=3").status == 0
    refused(glassgpt("resume", "second"), "no checkpoint to continue from")
    refused(glassgpt("runs", "remove"), "Name the runs to remove")


def test_the_list_needs_neither_torch_nor_matplotlib(three: Path) -> None:
    code = "import sys; from glassgpt.cli.main import main\ntry: main(['runs', '--csv'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'matplotlib', 'numpy'} & {*sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
    assert "small-2" in ended.stdout


def test_a_comparison_names_settings_without_a_column(three: Path, glassgpt: Command) -> None:
    config = Path("runs/small-2/config.toml")
    text = config.read_text()
    for before, after in (("beta1 = 0.9", "beta1 = 0.8"), ("beta2 = 0.99", "beta2 = 0.9"), ("clip = 1.0", "clip = 2.0"),
                          ("weight_decay = 0.1", "weight_decay = 0.2"), ("dropout = 0.0", "dropout = 0.1"),
                          ("log_every = 10", "log_every = 5"), ("momentum = 0.95", "momentum = 0.9")):  # fmt: skip
        assert before in text, before
        text = text.replace(before, after, 1)
    config.write_text(text)
    done = glassgpt("runs", "compare", "small*", "--by", "tokens", "--output", "two.png")
    assert done.status == 0, done.errors
    assert "further settings that differ" in done.output
    assert "training.clip" in done.output
    assert Path("two.png").read_bytes().startswith(b"\x89PNG")
