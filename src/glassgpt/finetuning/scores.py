"""How well texts were classified: accuracy, F1 of each label, and the confusion matrix with its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from glassgpt.runs.lettering import drawable, letter, told_apart

MOST_CHARACTERS = 24
"""The most characters of a label at the edge of a picture."""


@dataclass(frozen=True)
class Scores:
    """The right and the predicted labels of some texts, as indexes into `labels`: two int64 (N,).

    The figures take memory per label, not per pair of labels.
    """

    labels: tuple[str, ...]
    right: np.ndarray
    said: np.ndarray

    @property
    def confusion(self) -> np.ndarray:
        """`confusion[i, j]` counts the texts of label i that were predicted as label j: int64 (L, L)."""
        counted = np.zeros((len(self.labels), len(self.labels)), np.int64)
        np.add.at(counted, (self.right, self.said), 1)
        return counted

    @property
    def accuracy(self) -> float:
        """Share of texts with the right label."""
        return float(np.mean(self.right == self.said)) if len(self.right) else 0.0

    @property
    def f1(self) -> np.ndarray:
        """For each label, the harmonic mean of precision and recall; 0 if it was never right."""
        hits = self._counts(self.right[self.right == self.said])
        either = self._counts(self.right) + self._counts(self.said)
        return np.divide(2 * hits, either, out=np.zeros(len(hits)), where=either > 0)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the labels that occur; rare ones count as much as frequent ones."""
        occurs = (self._counts(self.right) + self._counts(self.said)) > 0
        return float(self.f1[occurs].mean()) if occurs.any() else 0.0

    def _counts(self, numbers: np.ndarray) -> np.ndarray:
        return np.bincount(numbers, minlength=len(self.labels))


def scores_of(right: np.ndarray, said: np.ndarray, labels: Sequence[str]) -> Scores:
    """Return the scores of label numbers: the right ones and the predicted ones, both (N,)."""
    return Scores(tuple(labels), np.asarray(right, np.int64), np.asarray(said, np.int64))


def findings(scores: Scores) -> dict[str, Any]:
    """Return the confusion matrix as a picture and as numbers, by the file of each."""
    counts = {"labels": list(scores.labels), "counts": scores.confusion.tolist()}
    return {"confusion.png": confusion_figure(scores), "confusion.json": counts}


def confusion_figure(scores: Scores) -> Figure:
    """Return the confusion matrix as a picture: rows are right labels, colours are shares of a row."""
    count, confusion = len(scores.labels), scores.confusion
    size = min(12.0, 2.6 + 0.7 * count)
    figure = Figure(figsize=(size + 0.6, size), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = confusion.sum(1, keepdims=True)
    shares = np.divide(confusion, rows, out=np.zeros(confusion.shape), where=rows > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")  # a square is laid out over its labels
    names = told_apart([drawable(label, MOST_CHARACTERS) for label in scores.labels])
    slope = 0 if count <= 3 and max(map(len, names)) <= 12 else 30 if count <= 12 else 90
    axes.set_xticks(range(count), names, rotation=slope, ha="right" if slope == 30 else "center")
    axes.set_yticks(range(count), names)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        letter(text)
    axes.set_xlabel("predicted label")
    axes.set_ylabel("right label")
    axes.set_title(f"accuracy {scores.accuracy:.1%}, F1 {scores.macro_f1:.3f}", loc="left", fontweight="bold")
    for i in range(count):
        for j in range(count):
            if count <= 20:
                axes.text(
                    j, i, f"{confusion[i, j]:,}", ha="center", va="center",
                    color="white" if shares[i, j] > 0.6 else "black",
                )  # fmt: skip
    for side in axes.spines.values():
        side.set_visible(False)
    return figure
