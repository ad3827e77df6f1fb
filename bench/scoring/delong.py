"""DeLong's variance and covariance of AUROCs, in O(n log n).

Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837-845; Sun and Xu, IEEE Signal
Processing Letters 21 (2014) 1389-1393, for the fast computation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.auroc import Array, placements, split_classes, undefined_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The structural components of k sets of scores for the same labels."""

    auroc: Array
    """(k,) AUROC of each set; NaN where undefined."""
    v10: Array
    """(k, p) per positive, the share of negatives it beats."""
    v01: Array
    """(k, q) per negative, the share of positives that beat it."""
    positive: NDArray[np.int64]
    """(p,) rows of the positives."""
    negative: NDArray[np.int64]
    """(q,) rows of the negatives."""


def components(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> Components:
    """Structural components of scores (k, n) against labels (n,): 0, 1 or NaN (left out)."""
    parts = [placements(labels, row) for row in scores]
    return Components(
        auroc=np.array([part.auroc for part in parts]),
        v10=np.stack([part.v10 for part in parts]),
        v01=np.stack([part.v01 for part in parts]),
        positive=parts[0].positive,
        negative=parts[0].negative,
    )


def covariance(of: Components) -> Array:
    """(k, k) DeLong covariance of the k AUROCs: S10 / p + S01 / q (DeLong 1988, equation 6).

    NaN where a class has fewer than two members, since S10 or S01 then has no degrees of freedom.
    """
    k, p = of.v10.shape
    q = of.v01.shape[1]
    if p < 2 or q < 2:
        return np.full((k, k), np.nan)
    a = of.v10 - of.auroc[:, None]
    b = of.v01 - of.auroc[:, None]
    return np.asarray(a @ a.T / (p * (p - 1)) + b @ b.T / (q * (q - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """AUROCs of o conditions with each study's share in their errors.

    ``psi @ psi.T`` is the covariance of the AUROCs. For conditions with the same labels it is
    DeLong's; where labels differ (another condition, blanks) it is the same expansion with each
    study counted once, whatever its class in either condition.
    """

    auroc: Array
    """(o,) AUROC per condition, the mean over members; NaN where undefined."""
    psi: Array
    """(o, s) shares; NaN throughout a condition without a variance."""
    positives: NDArray[np.int64]
    """(o,) studies labelled 1."""
    negatives: NDArray[np.int64]
    """(o,) studies labelled 0."""
    undefined: tuple[str | None, ...]
    """(o,) why the AUROC is undefined, else None."""

    def variance(self) -> Array:
        """(o,) variance of each AUROC."""
        return np.einsum("os,os->o", self.psi, self.psi)

    def covariance(self) -> Array:
        """(o, o) covariance of the AUROCs."""
        return np.asarray(self.psi @ self.psi.T)


def influence(labels: NDArray[np.floating], scores: NDArray[np.floating]) -> Influence:
    """AUROC and influence of scores (m, s, o) against labels (s, o): 0, 1 or NaN.

    With m members, the AUROC is the mean over members and the components are averaged before any
    variance is taken, so that the members' common studies are not counted m times.
    """
    _, studies, conditions = scores.shape
    auroc = np.full(conditions, np.nan)
    psi = np.zeros((conditions, studies))
    positives = np.zeros(conditions, dtype=np.int64)
    negatives = np.zeros(conditions, dtype=np.int64)
    undefined: list[str | None] = []
    for c in range(conditions):
        truth, values = labels[:, c], scores[:, :, c]
        positive, negative = split_classes(truth)
        positives[c], negatives[c] = p, q = len(positive), len(negative)
        undefined.append(undefined_reason(truth, values))
        if undefined[-1] is not None or p < 2 or q < 2:
            psi[c] = np.nan
        if undefined[-1] is not None:
            continue
        parts = [placements(truth, row) for row in values]
        auroc[c] = np.mean([part.auroc for part in parts])
        if p < 2 or q < 2:
            continue
        psi[c, positive] = (_mean([x.v10 for x in parts]) - auroc[c]) / np.sqrt(p * (p - 1))
        psi[c, negative] = (_mean([x.v01 for x in parts]) - auroc[c]) / np.sqrt(q * (q - 1))
    return Influence(
        auroc=auroc,
        psi=psi,
        positives=positives,
        negatives=negatives,
        undefined=tuple(undefined),
    )


def _mean(rows: Sequence[Array]) -> Array:
    if len(rows) == 1:
        return rows[0]
    total = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total / len(rows)
