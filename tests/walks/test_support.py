"""A support engineer with a CSV of questions and answers: a model that answers, and figures on whether it does."""

from __future__ import annotations

import csv

import pytest

from tests.walks.terminal import Terminal

pytestmark = pytest.mark.slow


def test_a_support_engineer_with_a_csv_of_answers(terminal: Terminal) -> None:
    colours = ("red", "green", "blue", "white")
    with (terminal.folder / "answers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        for number in range(80):
            colour = colours[number % 4]
            writer.writerow(
                [f"What does the {colour} light on box {number} mean?", f"The box is {colour}: restart it."]
            )

    terminal.types("glassgpt train answers.csv", ends=1)
    terminal.sees("question, answer", "glassgpt finetune sft")
    terminal.types("glassgpt finetune sft answers.csv", ends=1)
    terminal.sees("is a file of records, and not a run", "no run is there yet")
    terminal.pastes("glassgpt train", fills={"2": "0.3"})
    terminal.sees("to learn from", "held out", "It learned")

    terminal.types(terminal.printed("glassgpt chat"), until="you>")
    terminal.types("What does the red light on box 3 mean?", until="you>")
    terminal.sees("run>")
    terminal.types("/help", until="you>")
    terminal.sees("/system", "/save", "/retry")
    terminal.types("/exit")

    terminal.types("glassgpt eval")
    terminal.sees("held-out", "loss")
    terminal.types("glassgpt export --to gguf")
    terminal.sees("-f32.gguf")
