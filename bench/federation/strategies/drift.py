"""Strategies against client drift: local steps corrected, or their number taken into account."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.errors import SuiteError
from bench.federation.clients import State
from bench.federation.strategies.strategy import (
    Closing,
    Settings,
    Strategy,
    Visit,
    take_the_mean,
)
from bench.suites.scenario import Choice, Scenario


def effective_steps(optimizer: Choice, steps: int) -> float:
    """‖a‖₁ of Wang et al. 2020: how often one unit of gradient ends up in the parameters.

    τ for plain SGD; with momentum ρ a gradient counts again in every later step. Optimisers that
    are not linear in the gradient (Adam) are normalised by τ.
    """
    if optimizer.name != "sgd" or not dict(optimizer.parameters).get("momentum"):
        return float(steps)
    parameters = dict(optimizer.parameters)
    momentum, nesterov = parameters["momentum"], parameters.get("nesterov", False)
    velocity = total = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0
        total += 1.0 + momentum * velocity if nesterov else velocity
    return total


def send_normalised(visit: Visit) -> None:
    """FedNova: weight p_k/‖a_k‖₁, and the term p_k·‖a_k‖₁ of the effective number of steps."""
    steps = effective_steps(visit.scenario.optimizer, visit.result.steps)
    visit.add_scalar("steps", visit.share * steps)
    visit.send(visit.share / steps)


def step_normalised(closing: Closing) -> None:
    """FedNova: w ← w + τ_eff·Σ p_k·(w_k - w)/‖a_k‖₁."""
    closing.parameters.add_(closing.change(), alpha=closing.scalar("steps"))


def variate(like: Tensor, settings: Settings) -> State:
    """A control variate of zero: c on the server, c_k at a client."""
    return {"variate": torch.zeros_like(like)}


def correct(visit: Visit) -> None:
    """SCAFFOLD: every gradient is corrected by c - c_k; then c_k is renewed.

    Option 1: c_k is the gradient at the parameters sent, one pass over the client's images.
    Option 2: c_k ← c_k - c + (w₀ - w_k)/(η·K), with K = ‖a‖₁ where SGD has momentum.
    """
    own, shared = visit.state["variate"], visit.server["variate"]
    renewed = torch.empty_like(own)
    if visit.settings["option"] == 1:
        visit.survey(renewed)
    correction = torch.sub(shared, own, out=visit.scratch)

    def hook(parameters: Tensor, gradients: Tensor) -> None:
        gradients.add_(correction)

    visit.train(hook)
    if visit.settings["option"] == 2:
        steps = effective_steps(visit.scenario.optimizer, visit.result.steps)
        torch.sub(own, shared, out=renewed)
        renewed.add_(visit.change(), alpha=-1.0 / (visit.lr * steps))
    visit.sums["variate"].add(torch.sub(renewed, own, out=own), visit.share_of_all)
    own.copy_(renewed)


def step_and_renew(closing: Closing) -> None:
    """SCAFFOLD: w ← w + η_g·Σ p_k·(w_k - w); c ← c + Σ (n_k/n)·Δc_k over the clients selected.

    With equal sizes that is the paper's mean and its |S|/N; with unequal ones c stays the mean of
    all c_k in the weights of FedAvg's objective.
    """
    lr = closing.settings["server_lr"]
    if lr == 1.0:
        take_the_mean(closing)
    else:
        closing.parameters.add_(closing.change(), alpha=lr)
    closing.server["variate"].add_(closing.sums["variate"].total())


def must_be_sgd(scenario: Scenario) -> None:
    """SCAFFOLD's option 2 reads a gradient off the distance walked, which only SGD allows."""
    if scenario.strategy["option"] == 2 and scenario.optimizer.name != "sgd":
        raise SuiteError(
            "scaffold with option 2 cannot go with this optimizer",
            expected="optimizer: {name: sgd, lr: …}, whose steps add up to a gradient",
            found=str(scenario.optimizer),
            mend="use sgd, or strategy: {name: scaffold, option: 1}",
        )


def gradients_of(like: Tensor, settings: Settings) -> State:
    """FedDyn's sums of gradients, zero: h on the server, ∇_k at a client."""
    return {"gradient": torch.zeros_like(like)}


def regularised(visit: Visit) -> None:
    """FedDyn: the gradient of F(w) - ⟨∇_k, w⟩ + α/2·‖w - w₀‖²; then ∇_k ← ∇_k - α·(w_k - w₀)."""
    alpha, own = visit.settings["alpha"], visit.state["gradient"]
    constant = torch.add(own, visit.start, alpha=alpha, out=visit.scratch)

    def hook(parameters: Tensor, gradients: Tensor) -> None:
        gradients.add_(parameters, alpha=alpha).sub_(constant)

    visit.train(hook)
    own.sub_(visit.change(), alpha=alpha)
    visit.add_scalar("selected", visit.share_of_all)


def step_regularised(closing: Closing) -> None:
    """FedDyn: h ← h - α·Σ (n_k/n)·(w_k - w); w ← Σ p_k·w_k - h/α.

    With equal sizes these are the paper's 1/m and its mean over the clients selected.
    """
    alpha, state = closing.settings["alpha"], closing.server["gradient"]
    state.sub_(closing.change(), alpha=alpha * closing.scalar("selected"))
    closing.parameters.copy_(closing.mean()).sub_(state, alpha=1.0 / alpha)


ROWS = {
    "scaffold": Strategy(
        source="Karimireddy et al. 2020 (ICML), Algorithm 1",
        server_state=variate,
        client_state=variate,
        local=correct,
        server=step_and_renew,
        sums=("parameters", "variate"),
        up=2,
        down=2,
        check=must_be_sgd,
    ),
    "fednova": Strategy(
        source="Wang et al. 2020 (NeurIPS), equations 7 and 8",
        contribute=send_normalised,
        server=step_normalised,
    ),
    "feddyn": Strategy(
        source="Acar et al. 2021 (ICLR), Algorithm 1",
        server_state=gradients_of,
        client_state=gradients_of,
        local=regularised,
        server=step_regularised,
    ),
}
