"""Differentially private averaging: no client's images can be told from the model, within (ε, δ).

McMahan et al. 2018, *Learning Differentially Private Recurrent Language Models* (ICLR), Algorithm 1
with flat clipping and the estimator of a fixed denominator. Every client takes part in a round with
probability q = C on its own (Poisson sampling). With w_k = n_k / max n, W = Σ w_k over all clients
and Δ_k clipped to an L2 norm of S,

    w ← w + (Σ w_k·Δ_k) / (q·W) + N(0, σ²),    σ = z·S / (q·W)

so with q = 1, z = 0 and S = ∞ it is FedAvg. What is protected is a whole client. The clients'
sizes, and so w_k, are taken to be public, and so is the seed that the noise is drawn from: a run
can be repeated, which a deployment must not allow.

A client that drops out, or straggles and is dropped, adds nothing to the sum, and q is not lowered
for it: the step is then shorter, and ε counts every client that was drawn. Other ``weights`` than
the number of images take their place in w_k.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from bench.errors import SuiteError
from bench.federation.strategies.strategy import Closing, Strategy, Visit
from bench.randomness import torch_generator
from bench.suites.scenario import Scenario

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512, 1024)
"""Rényi orders that the best bound is sought over; for whole ones it is a finite sum."""


def send_clipped(visit: Visit) -> None:
    """Weight n_k / Σ n over all clients, times min(1, S/‖Δ_k‖)."""
    norm = float(torch.linalg.vector_norm(visit.change(), dtype=torch.float64))
    clip = visit.settings["clip"]
    scale = clip / norm if norm > clip else 1.0
    visit.send(visit.share_of_all * scale)


def step_noisily(closing: Closing) -> None:
    """w ← w + Σ (n_k/n)·Δ_k / q + N(0, σ²)."""
    scenario, settings = closing.scenario, closing.settings
    change = closing.change().div_(scenario.fraction)
    if settings["noise_multiplier"]:
        deviation = settings["noise_multiplier"] * settings["clip"] * closing.largest_share
        generator = torch_generator(scenario.seed, "noise", closing.round)
        noise = torch.randn(change.numel(), generator=generator)
        change.add_(noise.to(change.device), alpha=deviation / scenario.fraction)
    closing.parameters.add_(change)


def spent(scenario: Scenario, rounds: int) -> float:
    """ε after ``rounds`` rounds at the strategy's δ; infinite without noise."""
    strategy = scenario.strategy
    return _epsilon(scenario.fraction, strategy["noise_multiplier"], strategy["delta"], rounds)


@lru_cache(maxsize=64)
def _epsilon(fraction: float, noise: float, delta: float, rounds: int) -> float:
    """Rényi accounting of the sampled Gaussian mechanism (Mironov et al. 2019); neighbouring
    federations differ by one client."""
    if noise == 0.0:
        return math.inf
    from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(ORDERS, NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(PoissonSampledDpEvent(fraction, GaussianDpEvent(noise)), rounds)
    return float(accountant.get_epsilon(delta))


def some_take_part(scenario: Scenario) -> None:
    """A sampling probability of zero would train nobody."""
    if scenario.fraction == 0.0:
        raise SuiteError(
            "dpfedavg cannot be used with 'fraction: 0'",
            expected="a fraction above 0: the probability with which a client takes part",
            found="0",
            mend="set fraction to the expected share of clients a round",
        )


ROWS = {
    "dpfedavg": Strategy(
        source="McMahan et al. 2018 (ICLR), Algorithm 1, flat clipping, estimator f̃_f",
        contribute=send_clipped,
        server=step_noisily,
        private=True,
        epsilon=spent,
        check=some_take_part,
    ),
}
