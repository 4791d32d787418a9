"""How well labels were told apart: accuracy, F1 of each label, and the confusion matrix with its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Scores:
    """`confusion[i, j]` counts texts of label i that were taken for label j."""

    labels: tuple[str, ...]
    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of texts with the right label."""
        return float(np.trace(self.confusion) / max(1, self.confusion.sum()))

    @property
    def f1(self) -> np.ndarray:
        """Of each label: the harmonic mean of precision and recall; 0 where it was never right."""
        right = np.diag(self.confusion)
        either = self.confusion.sum(0) + self.confusion.sum(1)
        return np.divide(2 * right, either, out=np.zeros(len(right)), where=either > 0)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the labels that occur: rare ones count as much as frequent ones."""
        occurs = (self.confusion.sum(0) + self.confusion.sum(1)) > 0
        return float(self.f1[occurs].mean()) if occurs.any() else 0.0


def scores_of(right: np.ndarray, said: np.ndarray, labels: Sequence[str]) -> Scores:
    """Return the scores of numbers of labels: what is right, and what was said, both (N,)."""
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (right, said), 1)
    return Scores(tuple(labels), confusion)


def confusion_figure(scores: Scores) -> Figure:
    """Return the confusion matrix as a picture: rows are right labels, each row's shares the colours."""
    count = len(scores.labels)
    size = min(12.0, 2.6 + 0.7 * count)
    figure = Figure(figsize=(size + 0.6, size), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = scores.confusion.sum(1, keepdims=True)
    shares = np.divide(scores.confusion, rows, out=np.zeros(scores.confusion.shape), where=rows > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(
        range(count), scores.labels, rotation=30 if count > 3 else 0, ha="right" if count > 3 else "center"
    )
    axes.set_yticks(range(count), scores.labels)
    axes.set_xlabel("what the model says")
    axes.set_ylabel("what is right")
    axes.set_title(f"accuracy {scores.accuracy:.1%}, F1 {scores.macro_f1:.3f}", loc="left", fontweight="bold")
    for i in range(count):
        for j in range(count):
            if count <= 20:
                axes.text(
                    j, i, f"{scores.confusion[i, j]:,}", ha="center", va="center",
                    color="white" if shares[i, j] > 0.6 else "black",
                )  # fmt: skip
    for side in axes.spines.values():
        side.set_visible(False)
    return figure
