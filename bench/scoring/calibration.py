"""How far scores can be read as probabilities: Brier score, ECE, reliability curve.

Sources: Brier 1950; expected calibration error as in Naeini et al. 2015 and Guo et al. 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.auroc import Array

BINS = 15
"""Equal-width bins, the number of Guo et al. 2017."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Of one observation's scores, all within [0, 1]."""

    brier: float
    """Mean squared difference of score and label: 0 is best."""
    ece: float
    """Mean over studies of |mean score - share of positives| of the study's bin: 0 is best."""
    edges: Array
    """(bins + 1,) the bins' ends; each holds its lower end, the last also 1."""
    counts: NDArray[np.int64]
    """(bins,) labelled studies per bin."""
    mean_score: Array
    """(bins,) NaN where a bin is empty."""
    share_positive: Array
    """(bins,) NaN where a bin is empty."""


def refusal(scores: NDArray[np.floating]) -> str | None:
    """Why these scores of any shape cannot be probabilities, else None."""
    low, high = float(np.min(scores)), float(np.max(scores))
    if low >= 0.0 and high <= 1.0:
        return None
    return f"scores range from {low:.4g} to {high:.4g}; probabilities lie within [0, 1]"


def calibration(
    labels: NDArray[np.floating], scores: NDArray[np.floating], bins: int = BINS
) -> Calibration | None:
    """Calibration of scores (n,) against labels (n,): 0, 1 or NaN (left out); None without any.

    Raises ValueError where a score is NaN or outside [0, 1]; ask :func:`refusal` first.
    """
    known = ~np.isnan(labels)
    truth, values = labels[known].astype(np.float64), scores[known].astype(np.float64)
    if not len(truth):
        return None
    if np.isnan(values).any() or refusal(values):
        raise ValueError(f"The 'scores' must lie within [0, 1]. {refusal(values)}.")
    edges = np.linspace(0.0, 1.0, bins + 1)
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(which, weights=values, minlength=bins) / counts
        share = np.bincount(which, weights=truth, minlength=bins) / counts
    filled = counts > 0
    gap = np.abs(mean_score[filled] - share[filled])
    return Calibration(
        brier=float(np.mean((values - truth) ** 2)),
        ece=float((counts[filled] * gap).sum() / len(truth)),
        edges=edges,
        counts=counts,
        mean_score=mean_score,
        share_positive=share,
    )
