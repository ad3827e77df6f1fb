"""Adaptive optimisers on the server: the clients' mean change taken for a gradient.

Reddi et al. 2021, *Adaptive Federated Optimization* (ICLR), Algorithm 2:

    m ← β₁·m + (1 - β₁)·Δ
    v ← v + Δ²  (Adagrad)
        v - (1 - β₂)·Δ²·sign(v - Δ²)  (Yogi)
        β₂·v + (1 - β₂)·Δ²  (Adam)
    w ← w + η·m / (√v + τ)

The paper asks for v₋₁ ≥ τ²; it is τ² here. With ``bias_correction``, which the paper leaves out, m
and v are divided by 1 - β₁^t and 1 - β₂^t, and v starts at 0 as in Kingma & Ba 2015. Only trainable
parameters take part: running statistics are averaged, never stepped on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.federation.clients import State
from bench.federation.strategies.strategy import Closing, Settings, Strategy

Second = Callable[[Tensor, Tensor, Settings], None]
"""Renews the second moment (P,) in place, given Δ² (P,)."""


def moments(like: Tensor, settings: Settings) -> State:
    """m = 0 and v = τ², or 0 where bias is corrected."""
    corrected = settings.get("bias_correction", False)
    return {
        "first": torch.zeros_like(like),
        "second": torch.full_like(like, 0.0 if corrected else settings["tau"] ** 2),
        "steps": torch.zeros((), dtype=torch.int64, device=like.device),
    }


def add_squares(second: Tensor, squares: Tensor, settings: Settings) -> None:
    """Adagrad."""
    second.add_(squares)


def follow_signs(second: Tensor, squares: Tensor, settings: Settings) -> None:
    """Yogi."""
    direction = torch.sub(second, squares).sign_()
    second.addcmul_(squares, direction, value=-(1.0 - settings["beta2"]))


def average_squares(second: Tensor, squares: Tensor, settings: Settings) -> None:
    """Adam."""
    second.lerp_(squares, 1.0 - settings["beta2"])


def stepping_with(renew: Second) -> Callable[[Closing], None]:
    """The server's step with one of the second moments."""

    def server(closing: Closing) -> None:
        settings, state = closing.settings, closing.server
        change = closing.change()
        first = state["first"].lerp_(change, 1.0 - settings["beta1"])
        second = state["second"]
        renew(second, change.square_(), settings)
        state["steps"].add_(1)
        lr, scale = settings["server_lr"], 1.0
        if settings.get("bias_correction", False):
            steps = int(state["steps"])
            lr /= 1.0 - settings["beta1"] ** steps
            scale /= 1.0 - settings["beta2"] ** steps
        spread = torch.mul(second, scale, out=change).sqrt_().add_(settings["tau"])
        closing.parameters.addcdiv_(first, spread, value=lr)

    return server


def row(name: str, renew: Second) -> Strategy:
    """One of the three."""
    return Strategy(
        source=f"Reddi et al. 2021 (ICLR), Algorithm 2, {name}",
        server_state=moments,
        server=stepping_with(renew),
    )


ROWS = {
    "fedadagrad": row("FedAdagrad", add_squares),
    "fedyogi": row("FedYogi", follow_signs),
    "fedadam": row("FedAdam", average_squares),
}
