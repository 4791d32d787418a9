"""What the documentation says can be typed: command lines exist, links lead somewhere, examples run.

Command lines are parsed by the real command line, which checks names and options and executes nothing.
Python examples are executed beside a tiny trained run; a ```text block right after one is its output.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from glassgpt import config as configs
from glassgpt.cli.guesses import understood
from glassgpt.cli.helping import HELP_ALL
from glassgpt.cli.main import make_app
from glassgpt.errors import GlassGPTError
from glassgpt.finetuning.choice import Choice
from glassgpt.finetuning.config import KINDS
from glassgpt.runs.config import RunConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXTENDING = ROOT / "docs" / "extending.md"
"""Its commands need its package: `test_extending.py` installs that and runs them."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:python -m )?glassgpt [^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ENDS_A_COMMAND = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>"}
TINY = {
    "corpus": {"sources": ("builtin:tinytales:60",)},
    "tokenizer": {"vocab_size": 300},
    "model": {"context_length": 16, "n_layer": 1, "n_head": 2, "n_embd": 16},
    "training": {
        "steps": 4,
        "batch_size": 2,
        "evaluate_every": 2,
        "threads": 1,
        "sample_every": 0,
        "precision": "float32",
    },
}


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, and the block that follows directly."""

    place: str
    language: str
    text: str
    then: Block | None = None


def blocks(page: Path) -> Iterator[Block]:
    text, after = page.read_text(encoding="utf-8"), None
    for match in reversed(list(FENCE.finditer(text))):
        follows = after if after and not text[match.end() : after[0]].strip() else None
        line = text.count("\n", 0, match.start()) + 1
        block = Block(f"{page.relative_to(ROOT)}:{line}", match[1], match[2], follows[1] if follows else None)
        after = (match.start(), block)
        yield block


def command_lines() -> list:
    """Return each `glassgpt ...` (or `python -m glassgpt ...`) of the pages as its arguments."""
    found = []
    for page in PAGES:
        if page == EXTENDING:
            continue
        for block in blocks(page):
            if block.language in ("", "sh", "bash", "console"):
                lines = block.text.replace("\\\n", " ").splitlines()
                found += [
                    pytest.param(arguments, id=f"{block.place} {' '.join(arguments)}")
                    for line in lines
                    if (arguments := arguments_of(line)) is not None
                ]
    return found


def inline_commands() -> list:
    """Return each command that is named in running text or in a table, as its arguments."""
    found = []
    for page in PAGES:
        text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))
        for match in INLINE.finditer(text):
            arguments = arguments_of(match[1].replace("...", ""))
            if page != EXTENDING and arguments and arguments[0] != "COMMAND":
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(arguments, id=f"{page.name}:{line} {' '.join(arguments)}"))
    return found


def arguments_of(line: str) -> list[str] | None:
    """Return what follows `glassgpt` in a line of a shell, or None when the line is no such command."""
    if not re.match(r"(\$ )?([A-Z_]+=\S+ )*(torchrun .*-m |python -m |\S*/)?glassgpt( |$)", line):
        return None
    words = shlex.split(line, comments=True)
    words = words[next(i for i, word in enumerate(words) if word.endswith("glassgpt")) + 1 :]
    end = next((i for i, word in enumerate(words) if word in ENDS_A_COMMAND), len(words))
    return words[:end]


def python_blocks() -> list:
    found = [block for page in PAGES for block in blocks(page) if block.language == "python"]
    found = [block for block in found if "extending" not in block.place or "print(" in block.text]
    return [pytest.param(block, id=block.place) for block in found]


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny trained run in `runs/`."""
    from glassgpt.pretraining.run import start_run

    folder = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLASSGPT_CACHE", str(folder / "cache"))
        patch.delenv("GLASSGPT_RUNS", raising=False)
        start_run(configs.from_dict(RunConfig, TINY, origin="test"), name="tiny")
    return folder


@pytest.fixture
def beside_a_run(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tiny_run)
    monkeypatch.delenv("GLASSGPT_RUNS", raising=False)
    return tiny_run


@pytest.fixture
def beside_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipes that the pages show."""
    monkeypatch.chdir(tmp_path)
    for page in PAGES:
        for block in blocks(page):
            if block.language == "toml" and page != EXTENDING:
                name = re.match(r"# (\S+\.toml)", block.text)
                assert name, f"{block.place}: begin the recipe with its name, as in `# mine.toml: ...`"
                (tmp_path / name[1]).write_text(block.text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("arguments", command_lines())
def test_every_command_line_exists(arguments: list[str], beside_recipes: Path) -> None:
    for word in arguments:
        if re.fullmatch(r"runs/[\w-]+/config\.toml", word):  # of a run that the page tells of
            (beside_recipes / word).parent.mkdir(parents=True, exist_ok=True)
            (beside_recipes / word).write_text(configs.to_toml(RunConfig()), encoding="utf-8")
        if re.fullmatch(r"runs/[\w-]+/finetune\.toml", word):
            file = beside_recipes / word
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Choice("base", (), KINDS[arguments[1]].config()).to_toml(), encoding="utf-8")
    app = make_app()
    words = ["--help" if word == HELP_ALL else word for word in understood(app, arguments)]
    command, bound, ignored = app.parse_args(words, exit_on_error=False, print_error=False)
    assert callable(command)
    assert not ignored, (command, bound)


@pytest.mark.parametrize("arguments", inline_commands())
def test_every_command_in_a_sentence_exists_with_its_options(arguments: list[str]) -> None:
    """It may be named without its arguments, as in `glassgpt export --to hf`."""
    app = make_app()
    chain, apps, _ = app.parse_commands(understood(app, arguments))
    assert chain or arguments[0].startswith("--")
    assert apps[-1].default_command is not None or list(chain) == arguments


def test_commands_in_sentences_are_found() -> None:
    assert len(inline_commands()) > 50
    with pytest.raises(GlassGPTError):
        understood(make_app(), ["eval", "latest", "--tsks", "memorisation"])


@pytest.mark.parametrize(
    "line",
    ["glassgpt train texts --training.setps 5", "glassgpt trian texts", "$ glassgpt tokenizer encode gpt2"],
)
def test_a_wrong_command_line_would_be_found(line: str) -> None:
    from cyclopts import CycloptsError

    arguments = arguments_of(line)
    assert arguments
    with pytest.raises((CycloptsError, GlassGPTError)):
        make_app().parse_args(arguments, exit_on_error=False, print_error=False)


def test_command_lines_are_found() -> None:
    lines = {
        "glassgpt": [],
        "$ glassgpt runs  # all": ["runs"],
        "TIKTOKEN_CACHE_DIR=/x glassgpt model nano | head": ["model", "nano"],
        "torchrun --nproc-per-node 2 -m glassgpt resume": ["resume"],
        "glassgptx runs": None,
        "runs live in glassgpt": None,
    }
    assert {line: arguments_of(line) for line in lines} == lines
    assert len(command_lines()) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in LINK.findall(text) if "://" not in target]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("block", python_blocks())
def test_every_python_example_runs(block: Block, beside_a_run: Path) -> None:
    code = compile(block.text, block.place, "exec")
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        exec(code, {"__name__": "__main__"})
    if block.then is not None and block.then.language == "text":
        remedy = f"{block.then.place} shows another output than the example above it has now"
        assert written.getvalue().strip() == block.then.text.strip(), remedy


def test_every_recipe_shown_can_be_read(beside_recipes: Path) -> None:
    recipes = sorted(beside_recipes.glob("*.toml"))
    assert recipes
    for recipe in recipes:
        configs.from_dict(RunConfig, tomllib.loads(recipe.read_text(encoding="utf-8")), origin=recipe.name)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(LINK.findall(index))
