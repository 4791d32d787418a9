"""Numbers gathered between two lines of the log."""

from __future__ import annotations


class Tally:
    """Means by name of what was added since they were last taken."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, numbers: dict[str, float]) -> None:
        """Count the numbers of one batch."""
        self._count += 1
        self.add_to_last(numbers)

    def add_to_last(self, numbers: dict[str, float]) -> None:
        """Count further numbers of the batch that was added last."""
        for name, value in numbers.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count = {}, 0
        return means
