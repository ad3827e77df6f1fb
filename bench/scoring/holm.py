"""Holm's step-down correction for several tests (Holm, Scand. J. Statistics 6 (1979) 65-70)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.scoring.auroc import Array


def holm(p_values: Sequence[float] | Array) -> Array:
    """Adjusted p-values, in the order given; they control the family-wise error.

    The i-th smallest of k is multiplied by k - i + 1, made monotone and cut at 1. A NaN is a test
    that could not be made: it stays NaN and does not count among the k.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * steps))
    return adjusted
