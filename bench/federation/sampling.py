"""Which clients take part in a round."""

from __future__ import annotations

import math

from bench.randomness import generator


def sample_size(clients: int, fraction: float) -> int:
    """max(⌊C·K⌉, 1) (McMahan et al. 2017, Algorithm 1): C = 0 means one client. Halves round up."""
    return min(clients, max(math.floor(fraction * clients + 0.5), 1))


def sample(clients: int, fraction: float, *, seed: int, round: int) -> tuple[int, ...]:
    """The sorted ids of :func:`sample_size` clients, without replacement, all equally likely.

    The draw has the address (seed, "sampling", round), so it does not depend on earlier rounds.
    """
    count = sample_size(clients, fraction)
    if count == clients:
        return tuple(range(clients))
    drawn = generator(seed, "sampling", round).choice(clients, size=count, replace=False)
    return tuple(sorted(drawn.tolist()))


def sample_poisson(clients: int, fraction: float, *, seed: int, round: int) -> tuple[int, ...]:
    """Each client with probability ``fraction``, on its own; there may be none in a round.

    The sampling that differentially private averaging is analysed for (McMahan et al. 2018).
    """
    drawn = generator(seed, "sampling", round).random(clients) < fraction
    return tuple(drawn.nonzero()[0].tolist())
