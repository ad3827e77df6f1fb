"""How much a client counts in a round's mean.

=========== ======================================================================================
``samples`` n_k, its images (McMahan et al. 2017, Algorithm 1)
``uniform`` 1: every client alike, as where clients are the population that is asked about, or where
            they were drawn in proportion to their size
``steps``   τ_k, the local updates it makes in this round
=========== ======================================================================================

A share is a client's weight over the sum of the weights, and holds for running statistics too.
Strategies that weigh clients over all there are, whoever takes part (SCAFFOLD, FedDyn, DP-FedAvg),
take τ_k to be that of undiminished work, which does not change from round to round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.federation.work import Work, whole_work
from bench.suites.scenario import Scenario


def shares(scenario: Scenario, sizes: Sequence[int], work: Mapping[int, Work]) -> dict[int, float]:
    """By client of ``work``, its share of the mean over them; ``sizes`` are everyone's images."""
    weights = {client: _weight(scenario, sizes[client], own) for client, own in work.items()}
    total = sum(weights.values())
    return {client: weight / total for client, weight in weights.items()}


def shares_of_all(scenario: Scenario, sizes: Sequence[int]) -> list[float]:
    """Every client's share of the mean over all of them, doing what the scenario asks."""
    whole = whole_work(scenario)
    found = shares(scenario, sizes, dict.fromkeys(range(len(sizes)), whole))
    return [found[client] for client in range(len(sizes))]


def _weight(scenario: Scenario, images: int, work: Work) -> int:
    if scenario.weights == "uniform":
        return 1
    return work.count(images, scenario.batch_size) if scenario.weights == "steps" else images
