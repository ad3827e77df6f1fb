"""The scores of one split: AUROC with interval per observation, and their headline mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.observations import COMPETITION
from bench.scoring.bootstrap import Bootstrap, bootstrap
from bench.scoring.delong import Influence, influence
from bench.scoring.intervals import Interval, has_variance, interval, newcombe, z_value

IntervalMethod = Literal["logit", "wald", "bootstrap"]
INTERVAL_METHODS: tuple[str, ...] = get_args(IntervalMethod)

MINIMUM_CLASS = 30
"""With fewer positives (or negatives) an asymptotic interval's coverage is not to be relied on."""

NAMES = {"logit": "delong-logit", "wald": "delong-wald", "bootstrap": "bootstrap-percentile"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionScore:
    """One observation's AUROC."""

    name: str
    auroc: float | None
    """None where undefined."""
    ci: Interval | None
    method: str
    """``delong-logit``, ``delong-wald``, ``bootstrap-percentile``, or ``newcombe`` where the
    method asked for has no interval: no variance to work with, or too few replicates that have
    both classes."""
    positives: int
    n: int
    """Studies with a label for this observation."""
    undefined: str | None
    """Why there is no AUROC."""

    @property
    def unreliable(self) -> bool:
        """True where a class has fewer than 30 studies."""
        return min(self.positives, self.n - self.positives) < MINIMUM_CLASS

    def metrics(self) -> dict[str, Any]:
        """The observation's entry in ``run.json``."""
        return {
            "auroc": self.auroc,
            "ci": None if self.ci is None else list(self.ci),
            "method": self.method,
            "positives": self.positives,
            "n": self.n,
            "undefined": self.undefined,
            "unreliable": self.unreliable,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReport:
    """All observations of one split."""

    n: int
    """Studies (or images, where those are scored)."""
    members: int
    conditions: tuple[ConditionScore, ...]
    mean_auroc: float | None
    """Unweighted mean over ``mean_over``; None where no competition task is defined."""
    mean_ci: Interval | None
    mean_method: str
    """As ``method`` of a condition; a bootstrap that a task could not use is ``delong-logit``."""
    mean_over: tuple[str, ...]
    """The competition tasks with a defined AUROC, in the competition's order."""

    def __getitem__(self, name: str) -> ConditionScore:
        return next(condition for condition in self.conditions if condition.name == name)

    def metrics(self) -> dict[str, Any]:
        """The block of ``run.json``, without ``level`` and ``views``, which the caller knows."""
        return {
            "n": self.n,
            "members": self.members,
            "observations": {c.name: c.metrics() for c in self.conditions},
            "mean_auroc": self.mean_auroc,
            "mean_ci": None if self.mean_ci is None else list(self.mean_ci),
            "mean_over": list(self.mean_over),
        }


def score_studies(
    labels: NDArray[np.floating],
    scores: NDArray[np.floating],
    observations: Sequence[str],
    method: IntervalMethod = "logit",
    *,
    confidence: float = 0.95,
    patients: NDArray[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> ScoreReport:
    """Scores (m, s, o) against labels (s, o): 0, 1 or NaN (not labelled for that observation).

    ``patients`` (s,) are the bootstrap's clusters; without them every study is its own. The mean
    is over the five competition tasks that are present and defined; its interval uses the
    covariance between tasks that comes from their common studies.
    """
    if method not in INTERVAL_METHODS:
        known = ", ".join(INTERVAL_METHODS)
        raise ValueError(f"The 'method' must be one of {known}. Got {method!r} instead.")
    parts = influence(labels, scores)
    resampled = None
    if method == "bootstrap":
        clusters = np.arange(len(labels)) if patients is None else patients
        resampled = bootstrap(labels, scores, clusters, replicates=replicates, seed=seed)
    conditions = tuple(
        _condition(name, c, parts, method, confidence, resampled)
        for c, name in enumerate(observations)
    )
    index = {name: c for c, name in enumerate(observations)}
    tasks = [t for t in COMPETITION if t in index and parts.undefined[index[t]] is None]
    over = [index[task] for task in tasks]
    mean = float(np.mean(parts.auroc[over])) if over else None
    mean_ci, mean_method = None, NAMES[method]
    if mean is not None:
        newcombes = any(conditions[c].method == "newcombe" for c in over)
        if resampled is not None and not newcombes:
            mean_ci = resampled.mean_interval(over, confidence)
        if mean_ci is None:
            scale: Literal["logit", "wald"] = "wald" if method == "wald" else "logit"
            mean_ci = _mean_interval(mean, over, parts, scale, confidence)
            mean_method = NAMES[scale]
    return ScoreReport(
        n=len(labels),
        members=len(scores),
        conditions=conditions,
        mean_auroc=mean,
        mean_ci=mean_ci,
        mean_method=mean_method,
        mean_over=tuple(tasks),
    )


def _condition(
    name: str,
    c: int,
    parts: Influence,
    method: IntervalMethod,
    confidence: float,
    resampled: Bootstrap | None,
) -> ConditionScore:
    p, q = int(parts.positives[c]), int(parts.negatives[c])
    auroc, ci, used = None, None, NAMES[method]
    if parts.undefined[c] is None:
        auroc = float(parts.auroc[c])
        variance = float(parts.psi[c] @ parts.psi[c])
        if has_variance(variance):
            if resampled is not None:
                ci = resampled.interval(c, confidence)
            elif method != "bootstrap":
                ci = interval(auroc, variance, method, confidence)
        if ci is None:
            ci, used = newcombe(auroc, p, q, confidence), "newcombe"
    return ConditionScore(
        name=name,
        auroc=auroc,
        ci=ci,
        method=used,
        positives=p,
        n=p + q,
        undefined=parts.undefined[c],
    )


def mean_variance(parts: Influence, over: Sequence[int], confidence: float = 0.95) -> float:
    """The variance of the unweighted mean of those AUROCs, through their covariance.

    A task whose own variance is zero or unknown would make the mean look more certain than it is;
    half the width of its Newcombe interval stands in for z standard errors, without covariance.
    """
    psi = parts.psi[list(over)]
    own = np.einsum("os,os->o", psi, psi)
    known = np.array([has_variance(float(v)) for v in own])
    total = psi[known].sum(axis=0)
    variance = float(total @ total)
    for c in np.asarray(over)[~known]:
        low, high = newcombe(
            float(parts.auroc[c]), int(parts.positives[c]), int(parts.negatives[c]), confidence
        )
        variance += ((high - low) / 2.0 / z_value(confidence)) ** 2
    return variance / len(over) ** 2


def _mean_interval(
    mean: float,
    over: Sequence[int],
    parts: Influence,
    method: Literal["logit", "wald"],
    confidence: float,
) -> Interval:
    variance = mean_variance(parts, over, confidence)
    if not 0.0 < mean < 1.0:
        # Every task stands at 0, or every one at 1. There is one side left, and the widths of
        # their Newcombe intervals lie on it.
        width = 2.0 * z_value(confidence) * math.sqrt(variance)
        return (max(0.0, 1.0 - width), 1.0) if mean == 1.0 else (0.0, min(1.0, width))
    return interval(mean, variance, method, confidence)
