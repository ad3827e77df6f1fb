"""MOON: a client's features are drawn to the global model's and away from its own last ones.

Li, He & Song 2021, *Model-Contrastive Federated Learning* (CVPR), equation 3:

    ℓ = -log( e^{s(z, z_glob)/τ} / (e^{s(z, z_glob)/τ} + e^{s(z, z_prev)/τ}) )

with s the cosine and z the features of an image: here what enters the network's last layer, without
the paper's projection head. µ times the batch's mean of ℓ joins the loss. Its gradient is added
where it arises, at z, so the training step need not know of it; the loss reported is the task's.
Both teachers see the batch in the mode of training, and leave no trace in running statistics. At a
client's first visit its last model is the global one, where the gradient of ℓ is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.federation.clients import State
from bench.federation.strategies.strategy import Settings, Strategy, Visit
from bench.models.flat import FlatModel

PREVIOUS = "previous"
"""The name under which a client keeps the parameters of its last model."""


def contrast(z: Tensor, z_global: Tensor, z_previous: Tensor, temperature: float) -> Tensor:
    """ℓ, the mean over the batch; each z is (n, d)."""
    alike = F.cosine_similarity(z, z_global, dim=1)
    stale = F.cosine_similarity(z, z_previous, dim=1)
    return F.softplus((stale - alike) / temperature).mean()


class Teachers:
    """Hooks on the network that add µ·∂ℓ/∂z to the gradient of z in every training pass.

    ``teachers`` are the (P,) parameters of the global and of the client's last model.
    """

    def __init__(
        self, flat: FlatModel, teachers: tuple[Tensor, Tensor], mu: float, temperature: float
    ) -> None:
        self._flat = flat
        self._teachers = [_state(flat, parameters) for parameters in teachers]
        self._mu, self._temperature = mu, temperature
        self._teaching = False
        self._features: Tensor | None = None
        self._inputs: tuple[Any, ...] = ()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The hooks are in place."""
        module = self._flat.module
        handles = [
            module.register_forward_pre_hook(self._keep_inputs),
            last_layer(module).register_forward_pre_hook(self._at_features),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep_inputs(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not self._teaching:
            self._inputs = inputs

    def _at_features(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        z = inputs[0]
        if self._teaching:
            self._features = z.detach()
        elif z.requires_grad:
            z_global, z_previous = (self._seen_by(state) for state in self._teachers)
            extra = self._gradient(z.detach(), z_global, z_previous)
            z.register_hook(lambda gradient: gradient + extra)

    def _seen_by(self, state: State) -> Tensor:
        """The features of the current batch under a teacher's parameters."""
        buffers = {s.name: s.view(self._flat.buffers_flat) for s in self._flat.layout.buffers}
        throwaway = {name: buffer.clone() for name, buffer in buffers.items()}
        self._teaching = True
        try:
            with torch.no_grad():
                torch.func.functional_call(self._flat.module, state | throwaway, self._inputs)
        finally:
            self._teaching = False
        assert self._features is not None, "the network did not reach its last layer"
        return self._features

    def _gradient(self, z: Tensor, z_global: Tensor, z_previous: Tensor) -> Tensor:
        with torch.enable_grad(), torch.autocast(z.device.type, enabled=False):
            features = z.float().requires_grad_()
            loss = contrast(features, z_global.float(), z_previous.float(), self._temperature)
            (gradient,) = torch.autograd.grad(self._mu * loss, features)
        return gradient.to(z.dtype)


def _state(flat: FlatModel, parameters: Tensor) -> State:
    return {slot.name: slot.view(parameters) for slot in flat.layout.parameters}


def last_layer(module: nn.Module) -> nn.Module:
    """The last module with parameters of its own: the classifier."""
    layers = [m for m in module.modules() if next(m.parameters(recurse=False), None) is not None]
    return layers[-1]


def sent_parameters(like: Tensor, settings: Settings) -> State:
    """Before a client's first round its last model is the global one."""
    return {PREVIOUS: like.clone()}


def contrasted(visit: Visit) -> None:
    """Local steps on the task's loss and µ·ℓ; then the model is kept for the next visit."""
    mu, temperature = visit.settings["mu"], visit.settings["temperature"]
    previous = visit.state[PREVIOUS]
    if mu:
        pair = (visit.start, previous)
        with Teachers(visit.trainer.flat, pair, mu, temperature).watching():
            visit.train()
    else:
        visit.train()
    previous.copy_(visit.parameters)


ROWS = {
    "moon": Strategy(
        source="Li, He & Song 2021 (CVPR), Algorithm 1, equation 3",
        client_state=sent_parameters,
        local=contrasted,
    ),
}
