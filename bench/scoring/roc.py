"""The ROC curve as a list of thresholds, as scikit-learn draws it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.auroc import Array, split_classes, undefined_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Counts at descending thresholds; a study is called positive at or above the threshold."""

    true_positives: NDArray[np.int64]
    """(t,) starts at 0 and ends at ``positives``."""
    false_positives: NDArray[np.int64]
    """(t,) starts at 0 and ends at ``negatives``."""
    thresholds: Array
    """(t,) starts at infinity, where nothing is called positive."""

    @property
    def positives(self) -> int:
        """All positives."""
        return int(self.true_positives[-1])

    @property
    def negatives(self) -> int:
        """All negatives."""
        return int(self.false_positives[-1])

    def thinned(self) -> Curve:
        """Without the points inside straight runs, which change neither the line nor the area.

        This is what scikit-learn's ``drop_intermediate=True`` keeps. The competition's step rule
        looks at points, not at the line, so thinning can change its answer.
        """
        tp, fp = self.true_positives[1:], self.false_positives[1:]
        if len(tp) <= 2:
            return self
        corner = (np.diff(tp, 2) != 0) | (np.diff(fp, 2) != 0)
        kept = np.concatenate([[True, True], corner, [True]])
        return Curve(
            true_positives=self.true_positives[kept],
            false_positives=self.false_positives[kept],
            thresholds=self.thresholds[kept],
        )


def curve(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> Curve:
    """One point per distinct score (n,), for labels (n,): 0, 1 or NaN (left out).

    Raises ValueError where a class is missing or a score is NaN.
    """
    reason = undefined_reason(labels, scores)
    if reason is not None:
        raise ValueError(f"No ROC curve: {reason}.")
    positive, negative = split_classes(labels)
    values = np.concatenate([scores[positive], scores[negative]]).astype(np.float64)
    truth = np.repeat([1, 0], [len(positive), len(negative)])
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    last = np.concatenate([np.flatnonzero(values[1:] != values[:-1]), [len(values) - 1]])
    tp = np.cumsum(truth)[last]
    return Curve(
        true_positives=np.concatenate([[0], tp]),
        false_positives=np.concatenate([[0], last + 1 - tp]),
        thresholds=np.concatenate([[np.inf], values[last]]),
    )


def roc_curve(
    labels: NDArray[np.floating], scores: NDArray[np.floating], *, thin: bool = True
) -> tuple[Array, Array, Array]:
    """(false-positive rate, true-positive rate, thresholds), for plots."""
    points = curve(labels, scores)
    if thin:
        points = points.thinned()
    return (
        points.false_positives / points.negatives,
        points.true_positives / points.positives,
        points.thresholds,
    )
