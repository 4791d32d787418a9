"""Means of numbers between two lines of the log."""

from __future__ import annotations


class Tally:
    """Means, by name, of the numbers added since the last `take`."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, numbers: dict[str, float]) -> None:
        """Count the numbers of one batch."""
        self._count += 1
        self.add_to_last(numbers)

    def add_to_last(self, numbers: dict[str, float]) -> None:
        """Add more numbers of the last batch."""
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means, and start again."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means
