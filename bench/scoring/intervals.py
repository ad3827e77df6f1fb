"""Confidence intervals of an AUROC, or of a mean of AUROCs.

- ``logit``: Wald on the logit scale (Pepe 2003, section 5.2.3; Qin and Hotilovac 2008). Never
  leaves [0, 1] and keeps its coverage near 1, where the plain one does not. The default.
- ``wald``: estimate ± z · standard error, cut at 0 and 1. What the CheXpert paper reports.
- ``newcombe``: method 5 of Newcombe, Statistics in Medicine 25 (2006) 559-573, a score interval
  from the two class counts alone. It stands in where DeLong's variance is zero or has no degrees
  of freedom, as at an AUROC of exactly 1: the other two would then be one point and claim
  certainty that the data does not give.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

Interval = tuple[float, float]
Method = Literal["logit", "wald"]

NO_VARIANCE = 1e-26
"""A variance at or below this is rounding around zero: a standard error of 1e-13. One pair out of
order among 100,000 positives and as many negatives still has a variance of 1e-20."""


@lru_cache(maxsize=16)
def z_value(confidence: float) -> float:
    """The two-sided standard normal quantile, 1.96 for 0.95."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"The 'confidence' must be between 0 and 1. Got {confidence} instead.")
    return NormalDist().inv_cdf(0.5 + confidence / 2.0)


def has_variance(variance: float) -> bool:
    """False where a variance is NaN or zero, so that no Wald interval can be built on it."""
    return not math.isnan(variance) and variance > NO_VARIANCE


def interval(
    auroc: float, variance: float, method: Method = "logit", confidence: float = 0.95
) -> Interval:
    """The interval of an estimate in [0, 1] with that variance.

    Raises ValueError where the variance is zero or NaN (see :func:`has_variance`), or for
    ``logit`` where the estimate is exactly 0 or 1.
    """
    if not has_variance(variance):
        raise ValueError(f"The 'variance' must be positive. Got {variance} instead.")
    z, error = z_value(confidence), math.sqrt(variance)
    if method == "wald":
        return max(0.0, auroc - z * error), min(1.0, auroc + z * error)
    if not 0.0 < auroc < 1.0:
        raise ValueError(f"The 'auroc' must lie inside (0, 1) for a logit. Got {auroc} instead.")
    centre = math.log(auroc / (1.0 - auroc))
    half = z * error / (auroc * (1.0 - auroc))
    return _expit(centre - half), _expit(centre + half)


def newcombe(auroc: float, positives: int, negatives: int, confidence: float = 0.95) -> Interval:
    """Newcombe's method 5 for an AUROC of that many positives and negatives (one each or more).

    Its ends are the values t at which |t - auroc| equals z standard errors computed at t itself.
    """
    z = z_value(confidence)
    extra = (positives + negatives) / 2.0 - 1.0

    def excess(t: float) -> float:
        spread = 1.0 + extra * ((1.0 - t) / (2.0 - t) + t / (1.0 + t))
        variance = t * (1.0 - t) * spread / (positives * negatives)
        return abs(t - auroc) - z * math.sqrt(variance)

    low = 0.0 if auroc == 0.0 else _root(excess, 0.0, auroc)
    high = 1.0 if auroc == 1.0 else _root(excess, 1.0, auroc)
    return low, high


def _root(excess: Callable[[float], float], outside: float, inside: float) -> float:
    """The end between ``outside``, where the excess is positive, and ``inside``, by bisection."""
    for _ in range(60):
        middle = (outside + inside) / 2.0
        if excess(middle) > 0.0:
            outside = middle
        else:
            inside = middle
    return (outside + inside) / 2.0


def _expit(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
