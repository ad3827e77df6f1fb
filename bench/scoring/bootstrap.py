"""AUROCs of resampled patients.

Patients, not studies, are drawn with replacement, so that the studies of one patient stay
together (Field and Welsh 2007; Rutter 2000 for ROC curves). A replicate is a weight per study: how
often its patient was drawn. The scores are sorted once; a replicate's AUROC is then a weighted
count over the sorted order, and all replicates of a chunk are counted in one sparse product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.randomness import generator
from bench.scoring.auroc import Array, split_classes, undefined_reason

CHUNK = 64
"""Replicates weighed together: 51 MB of weights at 200,000 studies, and 6 MB, which stays in a
processor's cache, at 25,000."""

MINIMUM_DEFINED = 0.95
"""Where more than a twentieth of the replicates lack a class, percentiles of the rest would
describe a different experiment and no interval is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """The AUROCs of every replicate."""

    aurocs: Array
    """(b, o) NaN where a replicate drew no positive or no negative."""
    patients: int
    """Distinct patients that were drawn from."""

    def interval(self, condition: int, confidence: float = 0.95) -> tuple[float, float] | None:
        """Percentile interval of one condition; None as :func:`percentile_interval` says."""
        return percentile_interval(self.aurocs[:, condition], confidence)

    def mean_interval(
        self, conditions: list[int], confidence: float = 0.95
    ) -> tuple[float, float] | None:
        """Percentile interval of the mean over those conditions."""
        return percentile_interval(self.aurocs[:, conditions].mean(axis=1), confidence)


def percentile_interval(values: Array, confidence: float = 0.95) -> tuple[float, float] | None:
    """The central interval of the replicates that are not NaN.

    None where too many are NaN, and where all others are equal, as when every study is one
    patient's: an interval of one point would claim certainty that the data does not give.
    """
    defined = values[~np.isnan(values)]
    if len(defined) < MINIMUM_DEFINED * len(values) or np.ptp(defined) == 0.0:
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def bootstrap(
    labels: NDArray[np.floating],
    scores: NDArray[np.floating],
    patients: NDArray[Any],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Replicates of the AUROCs of scores (m, s, o) against labels (s, o), by patient (s,).

    An AUROC is the mean over the m members. Equal seeds and patients draw equal replicates, so the
    difference between two models on the same studies can be taken replicate by replicate.
    """
    names, patient = np.unique(patients, return_inverse=True)
    conditions = labels.shape[1]
    counters = [
        None
        if undefined_reason(labels[:, c], scores[:, :, c]) is not None
        else [_Counter(labels[:, c], row) for row in scores[:, :, c]]
        for c in range(conditions)
    ]
    aurocs = np.full((replicates, conditions), np.nan)
    start = 0
    for drawn in _draws(len(names), replicates, seed):
        weights = np.ascontiguousarray(drawn.T)[patient]
        stop = start + drawn.shape[0]
        for c, members in enumerate(counters):
            if members is not None:
                values = [counter.weigh(weights) for counter in members]
                aurocs[start:stop, c] = np.mean(values, axis=0)
        start = stop
    return Bootstrap(aurocs=aurocs, patients=len(names))


def _draws(patients: int, replicates: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Chunks (≤ CHUNK, patients) of how often each patient was drawn."""
    for chunk, start in enumerate(range(0, replicates, CHUNK)):
        rows = min(CHUNK, replicates - start)
        random = generator(seed, "bootstrap", round=chunk)
        picked = random.integers(0, patients, size=(rows, patients), dtype=np.int32)
        counts = np.empty((rows, patients), dtype=np.float32)
        for row in range(rows):
            counts[row] = np.bincount(picked[row], minlength=patients)
        yield counts


class _Counter:
    """One condition's sorted order, ready to weigh replicates.

    With the distinct scores of the positives as boundaries, the negatives fall between two of them
    or exactly on one. Two sparse 0/1 matrices sum the weights of each such bin; a cumulative sum
    then gives the negatives below every positive.
    """

    def __init__(self, labels: NDArray[np.floating], scores: NDArray[np.floating]) -> None:
        from scipy.sparse import csr_array

        self._positive, self._negative = positive, negative = split_classes(labels)
        bounds, level = np.unique(scores[positive], return_inverse=True)
        k, p, q = len(bounds), len(positive), len(negative)
        left = np.searchsorted(bounds, scores[negative], side="left")
        tied = left < k
        tied[tied] = bounds[left[tied]] == scores[negative][tied]
        # Bin 2j holds what lies strictly between bound j-1 and bound j, bin 2j+1 what equals j.
        bins = 2 * left + tied
        ones = np.ones(max(p, q), dtype=np.float32)
        n = len(labels)
        self._negatives = csr_array((ones[:q], (bins, negative)), shape=(2 * k + 1, n))
        self._positives = csr_array((ones[:p], (level, positive)), shape=(k, n))

    def weigh(self, weights: NDArray[np.float32]) -> Array:
        """(b,) AUROCs under weights (s, b); NaN where a class has no weight.

        float32 holds the counts and their halves exactly, as they stay below 2^23. Their products
        do not and are summed in float64.
        """
        binned = self._negatives @ weights
        of_positives = (self._positives @ weights).astype(np.float64)
        cumulative = _cumulate(binned)
        beaten = cumulative[:-1:2] + np.float32(0.5) * binned[1::2]
        won = np.einsum("kb,kb->b", of_positives, beaten.astype(np.float64))
        pairs = of_positives.sum(axis=0) * cumulative[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(pairs > 0, won / pairs, np.nan))


def _cumulate(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """``np.cumsum(rows, axis=0)`` for integer-valued (k, b), some twenty times as fast.

    NumPy accumulates down a column one element at a time. Here √k blocks advance together, so
    that each step adds whole rows; the blocks' totals are then carried over.
    """
    k, b = rows.shape
    length = max(1, int(k**0.5))
    blocks = -(-k // length)
    out = np.zeros((blocks, length, b), dtype=np.float32)
    out.reshape(-1, b)[:k] = rows
    for step in range(1, length):
        out[:, step] += out[:, step - 1]
    for block in range(1, blocks):
        out[block] += out[block - 1, -1]
    return out.reshape(-1, b)[:k]
