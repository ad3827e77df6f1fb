"""The area under the ROC curve as the Mann-Whitney statistic, exact under ties.

Sources: Bamber 1975 (the area equals the Mann-Whitney statistic); DeLong, DeLong and
Clarke-Pearson 1988, equations 1-5 (structural components).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placements:
    """Of each labelled score, the share of the other class that it beats; ties count half."""

    positive: NDArray[np.int64]
    """(p,) rows that are positive, ascending."""
    negative: NDArray[np.int64]
    """(q,) rows that are negative, ascending."""
    v10: Array
    """(p,) per positive, the share of negatives below it, in [0, 1]."""
    v01: Array
    """(q,) per negative, the share of positives above it, in [0, 1]."""
    auroc: float
    """Their common mean; NaN where a class is missing."""


def split_classes(labels: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the positives (1) and of the negatives (0); NaN is in neither.

    Raises ValueError for any other label.
    """
    positive = np.flatnonzero(labels == 1.0)
    negative = np.flatnonzero(labels == 0.0)
    blank = np.count_nonzero(np.isnan(labels))
    if len(positive) + len(negative) + blank != len(labels):
        odd = labels[(labels != 1.0) & (labels != 0.0) & ~np.isnan(labels)][0]
        raise ValueError(f"The 'labels' must be 0, 1 or NaN. Got {odd} instead.")
    return positive, negative


def undefined_reason(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> str | None:
    """Why the AUROC of these labels (n,) and scores (n,) or (m, n) is undefined, else None."""
    positive, negative = split_classes(labels)
    return undefined_classes(len(positive), len(negative)) or _nan_scores(
        scores[..., np.concatenate([positive, negative])]
    )


def undefined_classes(positives: int, negatives: int) -> str | None:
    """Why no ROC curve exists for these counts, else None."""
    if positives == 0 and negatives == 0:
        return "no labels"
    if positives == 0:
        return "no positives"
    return "no negatives" if negatives == 0 else None


def _nan_scores(scores: NDArray[np.floating]) -> str | None:
    count = int(np.count_nonzero(np.isnan(scores)))
    if not count:
        return None
    return "1 score is NaN" if count == 1 else f"{count:,} scores are NaN"


def placements(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> Placements:
    """The structural components of one set of scores, in O(n log n).

    ``labels`` (n,) are 0, 1 or NaN (left out); ``scores`` (n,) are any real numbers, higher
    meaning more likely positive. One sort gives, for every group of tied scores, how many of each
    class stand below it and in it; these are the mid-rank differences of Sun and Xu 2014, but
    counted in integers, so that no rounding enters before the last division.
    """
    positive, negative = split_classes(labels)
    p, q = len(positive), len(negative)
    if undefined_reason(labels, scores) is not None:
        nan = np.full(p, np.nan), np.full(q, np.nan)
        return Placements(
            positive=positive, negative=negative, v10=nan[0], v01=nan[1], auroc=np.nan
        )
    values = np.concatenate([scores[positive], scores[negative]])
    order = np.argsort(values)
    ranked = values[order]
    starts = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    group = np.empty(len(values), dtype=np.int64)
    group[order] = np.cumsum(starts) - 1
    groups = int(starts.sum())
    in_p = np.bincount(group[:p], minlength=groups)
    in_q = np.bincount(group[p:], minlength=groups)
    # Twice the counts, so that a tie's half is an integer.
    below_q = 2 * np.cumsum(in_q) - in_q
    above_p = 2 * (p - np.cumsum(in_p)) + in_p
    beaten = below_q[group[:p]]
    return Placements(
        positive=positive,
        negative=negative,
        v10=beaten / (2.0 * q),
        v01=above_p[group[p:]] / (2.0 * p),
        auroc=int(beaten.sum()) / (2 * p * q),
    )


def auroc(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> float:
    """The AUROC of scores (n,) against labels (n,): 0, 1 or NaN (left out).

    NaN where it is undefined; :func:`undefined_reason` says why.
    """
    return placements(labels, scores).auroc
