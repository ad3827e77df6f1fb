"""Partitions that tilt single labels: ``prevalence`` and ``uncertainty``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.errors import SuiteError
from bench.federation.partitions.division import line
from bench.federation.partitions.draw import Draw
from bench.federation.partitions.labels import balanced_mixes
from bench.federation.partitions.units import Units

SIZE_TOLERANCE = 1e-4
"""Relative error of a client's expected size at which the sizes count as balanced."""
MOST_SWEEPS = 500
"""Bound on the sweeps that balance expected sizes; the usual number is below 30."""


def prevalence(units: Units, clients: int, random: np.random.Generator, *, sigma: float) -> Draw:
    """Every client sees every condition more or less often, independently for each condition.

    Client i draws a tilt t_io ~ N(0, ``sigma``²) for each condition o. A unit that is positive for
    the conditions y goes to client i with probability proportional to exp(b_i + Σ_o t_io·y_o), so
    the log odds of condition o differ between clients i and j by t_io - t_jo, other conditions
    being equal. The b_i make the clients' expected numbers of images equal, or as nearly so as a
    very large ``sigma`` lets them, which the description then says. A ``sigma`` of 0 is IID.
    """
    patterns, pattern = _patterns(units.positive > 0)
    tilt = sigma * random.standard_normal((clients, patterns.shape[1]))
    score = patterns.astype(np.float64) @ tilt.T
    weight = np.bincount(pattern, weights=units.weight).astype(np.float64)
    chance, unequal = _balanced_chances(score, weight)
    # One search for all: row r of the cumulative chances is shifted to lie in (r, r + 1].
    reached = np.cumsum(chance, axis=1)
    reached /= reached[:, -1:]
    drawn = _stratified(units, random, by=pattern)
    flat = (reached + np.arange(len(patterns))[:, None]).ravel()
    place = np.searchsorted(flat, pattern + drawn, side="right")
    client = np.minimum(place - pattern * clients, clients - 1)
    sizes = "sizes balanced in expectation"
    if unequal >= SIZE_TOLERANCE:
        sizes = f"expected sizes up to {unequal:.2%} from equal, for sigma is large"
    return Draw(
        client=client,
        text=f"{sizes}; each client's log odds of each condition shifted by N(0, {sigma:g}²)",
    )


def _patterns(positive: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The distinct rows of (u, o), and the one each unit has."""
    packed = np.packbits(positive, axis=1)
    _, first, pattern = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return positive[first], pattern.reshape(-1)


def _balanced_chances(
    score: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """(p, k) chances of each client for each pattern, whose expected sizes are equal.

    With it, by how much the size that is farthest from equal is off, as a share of it.
    """
    clients = score.shape[1]
    base = np.exp(score - score.max(axis=1, keepdims=True))
    offset = np.ones(clients)
    for _ in range(MOST_SWEEPS):
        chance = base * offset
        chance /= chance.sum(axis=1, keepdims=True)
        size = weight @ chance * (clients / weight.sum())
        unequal = float(np.abs(size - 1).max())
        if unequal < SIZE_TOLERANCE:
            break
        offset = offset / np.maximum(size, np.finfo(np.float64).tiny)
        offset /= offset.max()
    return chance, unequal


def _stratified(
    units: Units, random: np.random.Generator, by: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(u,) uniform numbers in [0, 1), spread evenly among the units that share a value of ``by``.

    Unit r of m of them, in random order, gets (r + one uniform number) / m: each is uniform, and
    together they leave less to chance than independent ones.
    """
    order = line(units, random, by=by)
    number = np.bincount(by)
    rank = np.arange(len(units)) - (np.cumsum(number) - number)[by[order]]
    shift = random.random(len(number))
    drawn = np.empty(len(units))
    drawn[order] = (rank + shift[by[order]]) / number[by[order]]
    return drawn


def uncertainty(units: Units, clients: int, random: np.random.Generator, *, alpha: float) -> Draw:
    """Skew in the share of uncertain labels, at equal sizes.

    A unit's share is its uncertain labels over all of its labels (images × conditions). Units
    fall into four levels: no uncertain label, and the thirds of the share among the others. Each
    client's mix of levels is q ~ Dir(``alpha``·p), p the pool's mix, as in a balanced
    ``dirichlet``: a large alpha is IID, a small one gives some clients certain reports only and
    others the vaguest third.

    Raises SuiteError where the pool has no uncertain label.
    """
    share = units.uncertain.sum(axis=1) / (units.weight * len(units.labels))
    some = share > 0
    if not some.any():
        raise SuiteError(
            "there is no uncertain label to skew",
            expected=f"a training split in which some {units.noun} has a label of -1",
            found=f"{len(units):,} {units.noun}s without one",
            mend="use another partition for this data",
        )
    level = np.zeros(len(units), dtype=np.int64)
    level[some] = 1 + np.searchsorted(np.quantile(share[some], (1 / 3, 2 / 3)), share[some])
    return Draw(
        client=balanced_mixes(units, clients, random, level, alpha),
        text="balanced sizes; each client's mix of four levels of uncertain labels "
        f"from Dir({alpha:g}·pool)",
    )
