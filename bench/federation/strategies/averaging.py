"""Strategies whose server takes the clients' mean, or follows it: FedAvg and its near relations."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.federation.clients import State
from bench.federation.strategies.strategy import Closing, Settings, Strategy, Visit

SMALLEST_LOSS = 1e-10
"""Added to q-FedAvg's losses, as in its authors' code, so that a loss of zero has a power q - 1."""


def one_whole_step(visit: Visit) -> None:
    """FedSGD: E = 1 and B = ∞, one step on all the client has, so that the mean of the steps is the
    step on everyone's data."""
    visit.train(epochs=1, whole=True)


def proximal(visit: Visit) -> None:
    """FedProx: every gradient is that of F(w) + µ/2·‖w - w₀‖²."""
    mu, start = visit.settings["mu"], visit.start

    def hook(parameters: Tensor, gradients: Tensor) -> None:
        gradients.add_(parameters, alpha=mu).sub_(start, alpha=mu)

    visit.train(hook if mu else None)


def momentum_state(like: Tensor, settings: Settings) -> State:
    """A velocity of zero."""
    return {"velocity": torch.zeros_like(like)}


def follow_with_momentum(closing: Closing) -> None:
    """FedAvgM: v ← β·v + Δ, w ← w + η·v; Nesterov: w ← w + η·(Δ + β·v)."""
    beta, lr = closing.settings["beta"], closing.settings["server_lr"]
    change = closing.change()
    velocity = closing.server["velocity"].mul_(beta).add_(change)
    if closing.settings["nesterov"]:
        closing.parameters.add_(change.add_(velocity, alpha=beta), alpha=lr)
    else:
        closing.parameters.add_(velocity, alpha=lr)


def losses_first(visit: Visit) -> None:
    """q-FedAvg: the loss at the parameters sent is taken before training."""
    visit.add_scalar(f"loss/{visit.client}", visit.survey())
    visit.train()


def send_by_loss(visit: Visit) -> None:
    """q-FedAvg: weight n_k·F_k^q, and h_k = q·F_k^(q-1)·‖L·δ_k‖² + L·F_k^q with L = 1/η."""
    q, lipschitz = visit.settings["q"], 1.0 / visit.lr
    loss = visit.scalars[f"loss/{visit.client}"][0] + SMALLEST_LOSS
    norm = lipschitz * float(torch.linalg.vector_norm(visit.change(), dtype=torch.float64))
    curvature = q * loss ** (q - 1.0) * norm**2 if q else 0.0
    visit.add_scalar("h", visit.share * (curvature + lipschitz * loss**q))
    visit.send(visit.share * loss**q)


def step_by_loss(closing: Closing) -> None:
    """q-FedAvg: w ← w + L·Σ n_k·F_k^q·δ_k / Σ n_k·h_k."""
    lipschitz = 1.0 / float(closing.scenario.optimizer["lr"])
    change = closing.change()
    closing.parameters.add_(change, alpha=lipschitz / closing.scalar("h"))


ROWS = {
    "centralized": Strategy(
        source="training on everyone's data, its optimiser never reset", setting="pooled"
    ),
    "local": Strategy(
        source="each client trains on its own data, its optimiser never reset", setting="alone"
    ),
    "fedavg": Strategy(source="McMahan et al. 2017 (AISTATS), Algorithm 1"),
    "fedsgd": Strategy(
        source="McMahan et al. 2017 (AISTATS), section 2: E = 1, B = ∞", local=one_whole_step
    ),
    "fedprox": Strategy(
        source="Li, Sahu et al. 2020 (MLSys), Algorithm 2, h_k of equation 2", local=proximal
    ),
    "fedavgm": Strategy(
        source="Hsu et al. 2019 (arXiv:1909.06335), section 4.3",
        server_state=momentum_state,
        server=follow_with_momentum,
    ),
    "qfedavg": Strategy(
        source="Li, Sanjabi et al. 2020 (ICLR), Algorithm 2; weighted by n_k, so that q = 0 is "
        "FedAvg",
        local=losses_first,
        contribute=send_by_loss,
        server=step_by_loss,
    ),
}
