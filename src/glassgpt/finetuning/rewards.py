"""Rewards that can be verified: plain functions of the prompt and the answer.

    reward(prompt, answer, record) -> float

`prompt` is the text of the last question, `answer` what the model wrote, `record` the record of the data with all its
fields. Your own function is named as `module:function`; the module may be in the folder where the command is called.
Rewards from 0 to 1 are easiest to read.

Your own function runs in the training's process. After each call its changes are undone: to the working folder, which
the run may be written to, and to the record. Its standard input is empty. The built-in rewards change nothing and are
called directly.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib
import math
import operator
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from glassgpt.corpus.tinytales.parse import parse
from glassgpt.corpus.tinytales.score import valid_prefix
from glassgpt.errors import ConfigError, TrainingError, did_you_mean

Reward = Callable[[str, str, dict[str, Any]], float]
Say = Callable[[str], None]

PATIENCE = 60.0
"""Seconds after which a reward that has not returned is reported. It may just be slow, or it may never return."""


def tinytales(prompt: str, answer: str, record: dict[str, Any]) -> float:  # noqa: ARG001
    """Return 1 for a complete valid story of the built-in grammar, else half the share that is valid."""
    story = (prompt + answer).strip()
    found = parse(story)
    return 1.0 if found.valid else 0.5 * valid_prefix(story, found)


def words_reward(words: Sequence[str]) -> Reward:
    """Return a reward for the share of the record's `words`, or else of these `words`, that an answer contains."""

    def reward(_prompt: str, answer: str, record: dict[str, Any]) -> float:
        wanted = record.get("words") or words
        wanted = wanted.split() if isinstance(wanted, str) else wanted
        if not wanted or not isinstance(wanted, list | tuple) or not all(isinstance(w, str) for w in wanted):
            raise TrainingError(
                'The reward `words` needs the words: give --words, or a field "words" in each record, with a text '
                f"or a list of texts.{_found_in(record, 'words')}"
            )
        there = set(re.findall(r"\w+", answer.lower()))
        return sum(word.lower() in there for word in wanted) / len(wanted)

    return reward


def length_reward(length: int | None) -> Reward:
    """Return a reward of 1 for an answer of `length` words, falling to 0 at twice that number or none."""

    def reward(_prompt: str, answer: str, record: dict[str, Any]) -> float:
        wanted = _whole_number(record.get("length", length))
        if wanted < 1:
            raise TrainingError(
                'The reward `length` needs the number of words: give --length, or a field "length" in each record, '
                f"with a whole number of at least 1.{_found_in(record, 'length')}"
            )
        return max(0.0, 1.0 - abs(len(answer.split()) - wanted) / wanted)

    return reward


def _whole_number(value: Any) -> int:
    """Return a record's whole number (text in a table); 0 for anything else."""
    try:
        return int(value) if isinstance(value, int | str) else 0
    except ValueError:
        return 0


def _found_in(record: dict[str, Any], field: str) -> str:
    return f" A record has {_shown(record[field])} there." if field in record else ""


def arithmetic(prompt: str, answer: str, record: dict[str, Any]) -> float:  # noqa: ARG001
    """Return 1 when the first number of the answer is the result of the prompt's sum, such as "12 + 7 ="."""
    expressions = re.findall(r"[-+*/() \d.]*\d[-+*/() \d.]*", prompt)
    if not expressions:
        raise TrainingError(f"The reward `arithmetic` finds no sum to work out in the prompt {prompt!r:.60}.")
    wanted = evaluate_sum(max(expressions, key=len).strip())
    written = re.search(r"-?\d+(?:\.\d+)?", answer)
    return float(written is not None and abs(float(written.group()) - wanted) < 1e-9)


OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def evaluate_sum(expression: str) -> float:
    """Return the value of an expression of numbers, + - * / and brackets. Raises `TrainingError` for anything else."""
    try:
        return float(_value(ast.parse(expression, mode="eval").body))
    except (SyntaxError, ArithmeticError, KeyError, RecursionError, MemoryError) as error:
        # The last two errors: brackets nested a hundred times or more.
        raise TrainingError(f"The reward `arithmetic` cannot work out {expression!r:.80}.") from error


def _value(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left, operation, right):
            return OPERATIONS[type(operation)](_value(left), _value(right))
        case ast.UnaryOp(operation, operand):
            return OPERATIONS[type(operation)](_value(operand))
    raise KeyError(type(node))


BUILT_IN = ("tinytales", "words", "arithmetic", "length")


def make_reward(
    names: Sequence[str],
    *,
    words: Sequence[str] = (),
    length: int | None = None,
    say: Say = lambda _: None,
    patience: float = PATIENCE,
) -> Reward:
    """Return the sum of the named rewards. Raises `ConfigError` for one that cannot be found.

    `say` receives a line when the user's function has not returned after `patience` seconds.
    """
    made: dict[str, Reward] = {
        "tinytales": tinytales,
        "words": words_reward(words),
        "arithmetic": arithmetic,
        "length": length_reward(length),
    }
    rewards = [made.get(name) or _guarded(name, _load(name), say, patience) for name in dict.fromkeys(names)]
    return lambda prompt, answer, record: sum(reward(prompt, answer, record) for reward in rewards)


def _guarded(name: str, reward: Reward, say: Say, patience: float) -> Reward:
    """Return a user's reward that cannot silently change or delay the training."""

    def guarded(prompt: str, answer: str, record: dict[str, Any]) -> float:
        with _watched(name, answer, say, patience):
            return _ask(name, reward, prompt, answer, record)

    return guarded


def _load(name: str) -> Reward:
    """Import the user's function."""
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise ConfigError(
            f"There is no reward {name!r}.{did_you_mean(name, BUILT_IN)} There are: {', '.join(BUILT_IN)}, or your "
            f"own function as module:function."
        )
    if module_name.endswith(".py"):
        raise ConfigError(
            f"The reward {name} names a file. Name the module, from the folder that it is in:  "
            f"--reward {Path(module_name).stem}:{function_name}"
        )
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with _put_back():
            function: Any = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:  # importing a module runs it, so anything may be raised
        raise ConfigError(
            f"The reward {name} cannot be imported: {type(error).__name__}: {error}. It is looked for in {here} and "
            f"among the installed packages."
        ) from error
    finally:
        with contextlib.suppress(ValueError):  # the module may have removed it
            sys.path.remove(here)
    if not callable(function):
        raise ConfigError(f"The reward {name} is not a function.")
    reward: Any = function
    return reward


def _ask(name: str, reward: Reward, prompt: str, answer: str, record: dict[str, Any]) -> float:
    """Return one reward; its errors are reported with the prompt and the answer."""
    asked = f"for the answer {answer!r:.80} to {prompt!r:.60}"
    try:
        with _put_back():
            returned: Any = reward(prompt, answer, copy.deepcopy(record))
    except (Exception, SystemExit) as error:  # a reward that calls sys.exit would end the training silently
        raise TrainingError(
            f"The reward {name} raised {type(error).__name__}: {error} ({asked}). Nothing was changed by that "
            "update, and the run can be resumed when the function is fixed."
        ) from error
    try:
        value = float(returned)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last: a tensor of several numbers
        value = math.nan
    if not math.isfinite(value):
        raise TrainingError(
            f"The reward {name} returned {_shown(returned)} {asked}. It must return a finite number."
        )
    return value


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except Exception:  # such as an integer with more digits than Python prints, or a faulty __repr__
        return f"a value of the type {type(value).__name__} that cannot be shown"


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    """Give the block an empty standard input, and restore the working folder after it."""
    folder, stdin = os.open(".", os.O_RDONLY), sys.stdin
    try:
        with open(os.devnull, encoding="utf-8") as sys.stdin:
            yield
    finally:
        sys.stdin = stdin
        os.fchdir(folder)
        os.close(folder)


@contextlib.contextmanager
def _watched(name: str, answer: str, say: Say, patience: float) -> Iterator[None]:
    """Report once when the block takes longer than `patience` seconds."""
    line = (
        f"The reward {name} has not returned after {patience:.0f} seconds for the answer {answer!r:.80}. Press "
        f"Ctrl-C twice to end the training; it can be resumed from its last checkpoint."
    )
    timer = threading.Timer(patience, say, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
