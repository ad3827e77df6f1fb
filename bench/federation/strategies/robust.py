"""Aggregation that a few hostile or broken clients cannot move far.

These look at every client's parameters at once, so a round holds as many vectors as it has clients.
Clients count alike whatever their size: a weight could be claimed. Running statistics, under
``buffers: average``, are still a mean by the scenario's ``weights`` and not protected.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.errors import SuiteError
from bench.federation.expectation import reporting
from bench.federation.strategies.strategy import Closing, Strategy, Visit
from bench.suites.scenario import Scenario

COLUMNS = 2**18
"""Coordinates sorted at once, so that the sorted copy and its indices stay small."""


def send_as_it_is(visit: Visit) -> None:
    """The parameters go into the round's stack; there is no sum to add to."""


def by_coordinate(centre: Callable[[Tensor], Tensor], closing: Closing) -> None:
    """w ← centre of the sorted values (m, columns) float64, coordinate by coordinate."""
    assert closing.stack is not None
    for start in range(0, closing.parameters.numel(), COLUMNS):
        part = slice(start, start + COLUMNS)
        ordered = closing.stack[:, part].sort(dim=0).values.double()
        closing.parameters[part].copy_(centre(ordered))


def take_the_median(closing: Closing) -> None:
    """The middle value of each coordinate; of an even number the mean of the middle two."""

    def centre(ordered: Tensor) -> Tensor:
        m = len(ordered)
        return (ordered[(m - 1) // 2] + ordered[m // 2]) / 2

    by_coordinate(centre, closing)


def take_the_trimmed_mean(closing: Closing) -> None:
    """The mean of each coordinate without the ⌊β·m⌋ smallest and as many largest values."""

    def centre(ordered: Tensor) -> Tensor:
        cut = math.floor(closing.settings["beta"] * len(ordered))
        return ordered[cut : len(ordered) - cut].mean(dim=0)

    by_coordinate(centre, closing)


def take_the_nearest(closing: Closing) -> None:
    """Krum: the ``multi`` clients with the lowest scores, averaged; of equal scores the lower id.

    A client's score is the sum of its squared distances to its m - f - 2 nearest others.
    """
    assert closing.stack is not None
    stack, m = closing.stack, len(closing.stack)
    neighbours = m - closing.settings["byzantine"] - 2
    squared = torch.zeros((m, m), dtype=torch.float64)
    for i in range(m):
        for j in range(i):
            distance = torch.sub(stack[i], stack[j], out=closing.scratch)
            squared[i, j] = squared[j, i] = distance.double().square().sum()
    scores = [
        math.fsum(sorted(squared[i].tolist()[:i] + squared[i].tolist()[i + 1 :])[:neighbours])
        for i in range(m)
    ]
    best = sorted(sorted(range(m), key=lambda i: (scores[i], i))[: closing.settings["multi"]])
    closing.parameters.copy_(stack[best].double().mean(dim=0))


def outvoting(scenario: Scenario) -> int:
    """Krum needs m ≥ 2f + 3 clients a round, and no more can be averaged than take part."""
    return max(2 * scenario.strategy["byzantine"] + 3, scenario.strategy["multi"])


def enough_clients(scenario: Scenario) -> None:
    """Refuses what can have enough clients in no round; where it depends on chance, the round
    itself does."""
    found, needed = reporting(scenario), outvoting(scenario)
    if found.most < needed:
        strategy = scenario.strategy
        raise SuiteError(
            "krum cannot be used with so few clients a round",
            expected=f"at least {needed} for byzantine={strategy['byzantine']} and "
            f"multi={strategy['multi']}",
            found=f"{'at most ' if found.varies else ''}{found.most} of {scenario.clients} "
            "clients a round",
            mend=f"raise clients or fraction, or set byzantine to {max(0, (found.most - 3) // 2)}",
        )


ROWS = {
    "median": Strategy(
        source="Yin et al. 2018 (ICML), Algorithm 1, option I",
        contribute=send_as_it_is,
        server=take_the_median,
        stacked=True,
    ),
    "trimmed_mean": Strategy(
        source="Yin et al. 2018 (ICML), Algorithm 1, option II",
        contribute=send_as_it_is,
        server=take_the_trimmed_mean,
        stacked=True,
    ),
    "krum": Strategy(
        source="Blanchard et al. 2017 (NeurIPS), section 4",
        contribute=send_as_it_is,
        server=take_the_nearest,
        stacked=True,
        least=outvoting,
        check=enough_clients,
    ),
}
