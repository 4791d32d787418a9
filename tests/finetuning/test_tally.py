"""The means between two lines of the log, against sums made by hand."""

from __future__ import annotations

from glassgpt.finetuning.tally import Tally


def test_means_are_over_the_batches_since_the_last_line() -> None:
    tally = Tally()
    tally.add({"margin": 1.0, "accuracy": 0.0})
    tally.add({"margin": 4.0, "accuracy": 1.0})
    assert tally.take() == {"margin": 2.5, "accuracy": 0.5}
    tally.add({"margin": 7.0})
    assert tally.take() == {"margin": 7.0}, "nothing of the line before counts again"


def test_later_numbers_of_a_batch_do_not_count_as_another_batch() -> None:
    tally = Tally()
    for reward, kl in ((1.0, 0.25), (2.0, 0.75)):
        tally.add({"reward": reward})
        tally.add_to_last({"kl": kl})
    assert tally.take() == {"reward": 1.5, "kl": 0.5}


def test_without_a_batch_there_are_no_means() -> None:
    assert Tally().take() == {}
