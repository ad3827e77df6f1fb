"""Single points of a ROC curve: at a chosen specificity or sensitivity, and a reader's.

The step rule is the CheXpert competition's (its released scoring script; protocol.md): a reader
lies below a curve where the curve's point just before the first one at or beyond the reader's
false-positive rate has at least the reader's sensitivity. It is stricter than interpolating.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.scoring.auroc import split_classes
from bench.scoring.roc import Curve

Fixed = Literal["sensitivity", "specificity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """Calling a study positive at or above ``threshold``."""

    threshold: float
    """Infinity where nothing is called positive."""
    sensitivity: float
    specificity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A reader's calls for one observation, as counts."""

    name: str
    true_positives: int
    positives: int
    false_positives: int
    negatives: int

    @property
    def sensitivity(self) -> float:
        """Share of the positives that the reader called positive."""
        return self.true_positives / self.positives

    @property
    def specificity(self) -> float:
        """Share of the negatives that the reader called negative."""
        return 1.0 - self.false_positives / self.negatives


def operating_point(curve: Curve, fixed: Fixed, at_least: float) -> OperatingPoint:
    """The threshold that keeps one rate at or above a bound and makes the other the highest.

    Only thresholds that occur are considered; nothing is interpolated. Raises ValueError for a
    bound outside [0, 1].
    """
    if not 0.0 <= at_least <= 1.0:
        raise ValueError(f"The 'at_least' must be within [0, 1]. Got {at_least} instead.")
    sensitivity = curve.true_positives / curve.positives
    specificity = (curve.negatives - curve.false_positives) / curve.negatives
    # Along descending thresholds sensitivity rises and specificity falls.
    if fixed == "specificity":
        last = int(np.flatnonzero(specificity >= at_least)[-1])
        # The strictest threshold among those with that sensitivity.
        best = int(np.flatnonzero(sensitivity == sensitivity[last])[0])
    else:
        first = int(np.flatnonzero(sensitivity >= at_least)[0])
        best = int(np.flatnonzero(specificity == specificity[first])[-1])
    return OperatingPoint(
        threshold=float(curve.thresholds[best]),
        sensitivity=float(sensitivity[best]),
        specificity=float(specificity[best]),
    )


def reader(name: str, truth: NDArray[np.floating], calls: NDArray[np.floating]) -> Reader | None:
    """A reader's counts for truth (n,): 0, 1 or NaN, and calls (n,): 0, 1.

    None where a class is missing, so that one of the rates is undefined.
    """
    positive, negative = split_classes(truth)
    if not len(positive) or not len(negative):
        return None
    return Reader(
        name=name,
        true_positives=int(calls[positive].sum()),
        positives=len(positive),
        false_positives=int(calls[negative].sum()),
        negatives=len(negative),
    )


def lies_below(curve: Curve, reader: Reader) -> bool:
    """True where the reader lies below (or on) the curve by the competition's step rule.

    Rates are compared as products of counts, exactly. Where the first point at or beyond the
    reader's false-positive rate is the curve's origin, the point before it does not exist; its
    sensitivity is taken as 0.
    """
    points = curve.thinned()
    beyond = points.false_positives * reader.negatives >= reader.false_positives * points.negatives
    before = int(np.flatnonzero(beyond)[0]) - 1
    reached = int(points.true_positives[before]) if before >= 0 else 0
    return reached * reader.positives >= reader.true_positives * points.positives
