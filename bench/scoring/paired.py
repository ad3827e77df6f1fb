"""Paired tests of the difference between two AUROCs on the same studies.

Source: DeLong, DeLong and Clarke-Pearson 1988, equation 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.observations import COMPETITION
from bench.scoring.auroc import Array
from bench.scoring.delong import influence
from bench.scoring.intervals import Interval, has_variance, z_value

ROUNDING = 1e-12
"""A difference at or below this is none: averaging the members of one ranking leaves 1e-16, while
one pair changing places among 200,000 studies moves an AUROC by 1e-10."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The difference a - b of two AUROCs (or of two means of AUROCs)."""

    name: str
    a: float
    b: float
    difference: float
    error: float
    """Standard error of the difference; NaN where it cannot be estimated."""
    ci: Interval | None
    """Wald interval of the difference; None where there is no standard error."""
    p: float
    """Two-sided; 1 where the predictions rank alike, NaN where no test can be made."""
    undefined: str | None
    """Why ``p`` is NaN."""


def difference_test(
    name: str, a: float, b: float, variance: float, confidence: float = 0.95
) -> Difference:
    """Two-sided z-test of a - b with that variance of the difference.

    A variance of zero with a difference of zero is two identical rankings: p is 1. A variance of
    zero with any other difference (a perfect model against a constant one) bears no test.
    """
    difference, undefined = a - b, None
    error, p, ci = math.nan, math.nan, None
    if math.isnan(difference):
        undefined = "an AUROC is undefined"
    elif math.isnan(variance):
        undefined = "fewer than two positives or negatives"
    elif has_variance(variance):
        error = math.sqrt(variance)
        p = min(1.0, 2.0 * NormalDist().cdf(-abs(difference) / error))
        half = z_value(confidence) * error
        ci = (difference - half, difference + half)
    elif abs(difference) <= ROUNDING:
        error, p, ci = 0.0, 1.0, (0.0, 0.0)
    else:
        error, undefined = 0.0, "DeLong's variance of the difference is zero"
    return Difference(
        name=name,
        a=a,
        b=b,
        difference=difference,
        error=error,
        ci=ci,
        p=p,
        undefined=undefined,
    )


def paired_tests(
    labels: NDArray[np.floating],
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    observations: Sequence[str],
    confidence: float = 0.95,
) -> tuple[Difference, ...]:
    """One paired test per observation, for scores a (m, s, o) and b (m', s, o), labels (s, o).

    With several members an AUROC is their mean and their components are averaged. Adjust the
    p-values with :func:`bench.scoring.holm.holm` before reading more than one.
    """
    first, second = influence(labels, a), influence(labels, b)
    variance = _squares(first.psi - second.psi)
    return tuple(
        difference_test(
            name, float(first.auroc[c]), float(second.auroc[c]), float(variance[c]), confidence
        )
        for c, name in enumerate(observations)
    )


def paired_mean_test(
    labels: NDArray[np.floating],
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    observations: Sequence[str],
    confidence: float = 0.95,
    over: Sequence[str] = COMPETITION,
) -> Difference | None:
    """The paired test of the mean AUROC over those of ``over`` that both define, else None."""
    first, second = influence(labels, a), influence(labels, b)
    defined = ~np.isnan(first.auroc) & ~np.isnan(second.auroc)
    rows = [c for c, name in enumerate(observations) if name in over and defined[c]]
    if not rows:
        return None
    psi = (first.psi - second.psi)[rows].mean(axis=0)
    return difference_test(
        "mean",
        float(first.auroc[rows].mean()),
        float(second.auroc[rows].mean()),
        float(psi @ psi),
        confidence,
    )


def _squares(psi: Array) -> Array:
    return np.einsum("os,os->o", psi, psi)
