"""Accuracy over exclusive classes, and its interval."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.scoring.intervals import Interval, z_value


def accuracy(labels: NDArray[np.int64], scores: NDArray[np.floating]) -> float:
    """The share of (n,) ``labels`` that are the column of the highest of (n, c) ``scores``.

    Of equal scores the first counts. A row with a NaN has no highest score and is wrong, whatever
    its label. Raises ValueError where there is nothing to score.
    """
    if not len(labels):
        raise ValueError("The 'labels' must not be empty.")
    right = (scores.argmax(axis=1) == labels) & ~np.isnan(scores).any(axis=1)
    return float(np.mean(right))


def wilson(share: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share of n (Wilson 1927, JASA 22:209).

    ``share`` may be a mean over several models on the same n images; the interval then says what
    other images would change, not what other models would.
    """
    if n < 1 or not 0.0 <= share <= 1.0:
        raise ValueError(f"A share of n must be in [0, 1], n positive. Got {share} of {n} instead.")
    z = z_value(confidence)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if share == 0.0 else centre - half
    high = 1.0 if share == 1.0 else centre + half
    return low, high
