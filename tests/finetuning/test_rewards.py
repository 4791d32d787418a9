"""Rewards: the built-in ones by hand, and users' functions, whose errors are reported with prompt and answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassgpt.corpus.tinytales.generate import stories
from glassgpt.errors import ConfigError, TrainingError
from glassgpt.finetuning.rewards import Reward, arithmetic, evaluate_sum, make_reward, tinytales


def test_a_valid_story_is_worth_one_and_a_broken_one_what_is_still_valid() -> None:
    (story,) = stories(1, 3)
    assert tinytales("", story, {}) == 1.0
    assert tinytales(story[:20], story[20:], {}) == 1.0
    broken = tinytales("", story[: len(story) // 2] + " qqq", {})
    assert 0.2 < broken < 0.5
    assert tinytales("", "qqq", {}) < 0.05


@pytest.mark.parametrize(
    ("prompt", "answer", "reward"),
    [
        ("12 + 7 =", " 19.", 1.0),
        ("What is (2 + 3) * 4?", "It is 20", 1.0),
        ("9 - 12 =", "-3", 1.0),
        ("1 / 4 =", "0.25", 1.0),
        ("12 + 7 =", "18, no, 19", 0.0),
        ("12 + 7 =", "nineteen", 0.0),
    ],
)
def test_arithmetic(prompt: str, answer: str, reward: float) -> None:
    assert arithmetic(prompt, answer, {}) == reward


@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from("+-*"))
def test_a_sum_is_worked_out_as_python_does(a: int, b: int, sign: str) -> None:
    assert evaluate_sum(f"{a} {sign} {b}") == eval(f"{a} {sign} {b}")


@pytest.mark.parametrize(
    "expression",
    [
        "2 ** 9", "__import__('os')", "1 / 0", "2 +", "a + 1", "9" * 5000, f"{'9' * 400} / 3", f"{'9' * 400} + 1",
        "(" * 5000 + "1" + ")" * 5000, "-" * 5000 + "1",
    ],
    ids=lambda expression: expression[:20],
)  # fmt: skip
def test_what_is_no_sum_is_refused(expression: str) -> None:
    with pytest.raises(TrainingError, match="cannot work out"):
        evaluate_sum(expression)


def test_words_and_length() -> None:
    reward = make_reward(["words"], words=("boat", "Lake"))
    assert reward("", "A boat on the lake.", {}) == 1.0
    assert reward("", "A boat.", {}) == 0.5
    assert reward("", "boats", {"words": "boats cake"}) == 0.5
    assert make_reward(["length"], length=4)("", "one two three four", {}) == 1.0
    assert make_reward(["length"])("", "one two", {"length": 4}) == 0.5
    both = make_reward(["words", "length"], words=("a",), length=1)
    assert both("", "a", {}) == 2.0


@pytest.mark.parametrize("name", ["words", "length", "arithmetic"])
def test_a_reward_without_its_setting_says_so(name: str) -> None:
    with pytest.raises(TrainingError, match=name):
        make_reward([name])("no number", "an answer", {})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("length", "four", "whole number.*'four'"),
        ("length", 2.5, r"whole number.*2\.5"),
        ("length", [3], "whole number"),
        ("length", "9" * 5000, "whole number"),
        ("length", 0, "whole number"),
        ("words", 5, "list of texts.*5"),
        ("words", ["boat", 3], "list of texts.*boat"),
        ("words", {"boat": 1}, "list of texts"),
    ],
)
def test_a_record_that_asks_for_something_else_is_told(name: str, value: object, message: str) -> None:
    with pytest.raises(TrainingError, match=f"`{name}`.*{message}"):
        make_reward([name])("", "an answer", {name: value})


class Single:
    """An object that cannot be copied."""

    def __deepcopy__(self, _: object) -> Single:
        raise AssertionError("copied")


def test_a_built_in_reward_is_called_as_it_is() -> None:
    """Calls of built-in functions once also made a thread, two open files and a copy of the record each."""
    reward = make_reward(["length", "words"], length=2, words=("boat",))
    assert reward("", "a boat", {"more": Single()}) == 2.0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 1 / 0", "mine:reward raised ZeroDivisionError"),
        ("return float('nan')", "mine:reward returned nan"),
        ("return 'good'", "mine:reward returned 'good'"),
        ("return None", "mine:reward returned None"),
        ("return [1, 2]", r"mine:reward returned \[1, 2\]"),
        ("return float('-inf')", "mine:reward returned -inf"),
        ("return 10 ** 400", "mine:reward returned 1000"),
        ("return 10 ** 9000", "mine:reward returned a value of the type int"),
        ("import torch; return torch.ones(2)", r"mine:reward returned tensor"),
        ("return 1j", "mine:reward returned 1j"),
        ("return float(input())", "mine:reward raised EOFError"),
        ("return reward(prompt, answer, record)", "mine:reward raised RecursionError"),
        ("raise SystemExit(3)", "mine:reward raised SystemExit"),
    ],
)
def test_a_failing_reward_of_the_user_is_reported(
    body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(f"def reward(prompt, answer, record):\n    {body}\n")
    with pytest.raises(TrainingError, match=message):
        make_reward(["mine:reward"])("asked", "answered", {})
    sys.modules.pop("mine", None)


def own_reward(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> Reward:
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (folder / "mine.py").write_text(body)
    return make_reward(["mine:reward"])


def test_a_reward_that_changes_its_surroundings_changes_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `os.chdir` the checkpoints of a run with a relative path were once looked for in the other folder."""
    reward = own_reward(
        monkeypatch,
        tmp_path,
        "import os, sys\nos.chdir('/')\nsys.path.pop(0)\n"
        "def reward(prompt, answer, record):\n"
        "    os.chdir('/')\n    record['length'][0] += 1\n    sys.stdin = None\n    return record['length'][0]\n",
    )
    stdin, record = sys.stdin, {"length": [1]}
    assert [reward("", "", record) for _ in range(3)] == [2.0, 2.0, 2.0]
    assert record == {"length": [1]}
    assert Path.cwd() == tmp_path
    assert sys.stdin is stdin


def test_a_reward_that_does_not_return_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_reward(monkeypatch, tmp_path, "import time\ndef reward(*_):\n    time.sleep(0.3)\n    return 1\n")
    said: list[str] = []
    assert make_reward(["mine:reward"], say=said.append, patience=0.05)("asked", "answered", {}) == 1.0
    assert len(said) == 1
    assert "mine:reward has not returned" in said[0]
    assert "'answered'" in said[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tinytale", "Did you mean tinytales"),
        ("nowhere_at_all:reward", "cannot be imported"),
        (".x:y", "cannot be imported"),
        (":y", "cannot be imported"),
        ("math:nothing", "cannot be imported"),
        ("math:pi", "is not a function"),
        ("mine.py:reward", r"--reward mine:reward"),
        ("folder/mine.py:reward", r"--reward mine:reward"),
    ],
)
def test_a_missing_reward_is_reported(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_reward([name])
