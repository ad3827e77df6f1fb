"""The one-sided rank-sum test, exact for small samples and under ties.

Sources: Wilcoxon, Biometrics Bulletin 1 (1945) 80-83; Mann and Whitney, Annals of Mathematical
Statistics 18 (1947) 50-60; Lehmann, Nonparametrics (1975), section 1.4, for ties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

EXACT_LIMIT = 50
"""Values in both samples up to which the null distribution is counted out: C(50, 25) = 1.3e14
still is an integer in a float, and above it the normal approximation is good to 1e-3."""


def lower_p(sample: Sequence[float], other: Sequence[float]) -> float:
    """How likely ``sample`` would rank this low among ``other`` or lower, were both one population.

    Raises ValueError where a sample is empty or a value is not finite.
    """
    values = np.array([*sample, *other], dtype=np.float64)
    size = len(sample)
    if not 0 < size < len(values) or not np.isfinite(values).all():
        raise ValueError("Both samples must hold finite numbers, at least one each.")
    ranks = doubled_midranks(values)
    observed = int(ranks[:size].sum())
    if len(values) <= EXACT_LIMIT:
        return _exact(ranks, size, observed)
    return _normal(ranks, size, observed)


def doubled_midranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Twice the mid-rank of every value (n,), so that a tie's half rank is an integer."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(count) - count
    return np.asarray((2 * below + count + 1)[group], dtype=np.int64)


def _exact(ranks: NDArray[np.int64], size: int, observed: int) -> float:
    """Counts the subsets of ``size`` ranks by their sum: all of them are equally likely."""
    subsets = np.zeros((size + 1, int(ranks.sum()) + 1))
    subsets[0, 0] = 1.0
    for rank in ranks.tolist():
        subsets[1:, rank:] += subsets[:-1, :-rank].copy()
    return float(subsets[size, : observed + 1].sum() / math.comb(len(ranks), size))


def _normal(ranks: NDArray[np.int64], size: int, observed: int) -> float:
    """The normal approximation with the variance of the ranks as they are tied."""
    n = len(ranks)
    variance = size * (n - size) / (n - 1) * float(ranks.var())
    if variance == 0.0:
        return 1.0
    # One step of the doubled rank sum is two where nothing is tied; half of it is one.
    z = (observed + 1 - size * float(ranks.mean())) / math.sqrt(variance)
    return min(1.0, NormalDist().cdf(z))
