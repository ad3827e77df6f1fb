"""Which clients are asked to take part in a round.

=========== ======================================================================================
``uniform`` max(⌊C·K⌉, 1) of them, all equally likely (McMahan et al. 2017, Algorithm 1)
``size``    as many, one after another, each of those left with a probability proportional to n_k
``poisson`` each with probability C, on its own (McMahan et al. 2018)
=========== ======================================================================================

A round's draw has the address (seed, "sampling", round), so it does not depend on earlier rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.randomness import generator


def sample_size(clients: int, fraction: float) -> int:
    """max(⌊C·K⌉, 1) (McMahan et al. 2017, Algorithm 1): C = 0 means one client. Halves round up."""
    return min(clients, max(rounded(fraction * clients), 1))


def rounded(value: float) -> int:
    """⌊value⌉ with halves up."""
    return math.floor(value + 0.5)


def sample(clients: int, fraction: float, *, seed: int, round: int) -> tuple[int, ...]:
    """The sorted ids of :func:`sample_size` clients, without replacement, all equally likely."""
    count = sample_size(clients, fraction)
    if count == clients:
        return tuple(range(clients))
    drawn = generator(seed, "sampling", round).choice(clients, size=count, replace=False)
    return tuple(sorted(drawn.tolist()))


def sample_by_size(
    sizes: Sequence[int], fraction: float, *, seed: int, round: int
) -> tuple[int, ...]:
    """The sorted ids of :func:`sample_size` clients, drawn one after another without replacement,
    each with a probability proportional to n_k among those left.

    A race: client k arrives after an exponential time of rate n_k, and the first are taken, which
    has that distribution (Efraimidis & Spirakis 2006, with the logarithm of their keys). The first
    client is drawn with probability n_k/n; over several, large clients are taken a little less
    often than in proportion, for none is taken twice.
    """
    count = sample_size(len(sizes), fraction)
    if count == len(sizes):
        return tuple(range(len(sizes)))
    waits = generator(seed, "sampling", round).exponential(size=len(sizes))
    rates = np.asarray(sizes, dtype=np.float64)
    arrivals = np.divide(waits, rates, out=np.full(len(sizes), np.inf), where=rates > 0)
    return tuple(sorted(np.argsort(arrivals, kind="stable")[:count].tolist()))


def sample_poisson(clients: int, fraction: float, *, seed: int, round: int) -> tuple[int, ...]:
    """Each client with probability ``fraction``, on its own; there may be none in a round.

    The sampling that differentially private averaging is analysed for (McMahan et al. 2018).
    """
    drawn = generator(seed, "sampling", round).random(clients) < fraction
    return tuple(drawn.nonzero()[0].tolist())
