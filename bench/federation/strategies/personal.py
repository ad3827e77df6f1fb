"""Strategies that leave something with each client: layers, or a whole model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.errors import SuiteError
from bench.federation.strategies.contrast import last_layer
from bench.federation.strategies.strategy import Strategy, Visit, own_model
from bench.training.step import Hook


def normalisation(module: nn.Module) -> tuple[str, ...]:
    """Scales and shifts of batch normalisation, or of the group normalisation in its place.

    Raises SuiteError where the network has neither: nothing would be personal.
    """
    names = tuple(
        f"{prefix}.{leaf}" if prefix else leaf
        for prefix, layer in module.named_modules()
        if isinstance(layer, _BatchNorm | nn.GroupNorm)
        for leaf, _ in layer.named_parameters(recurse=False)
    )
    if not names:
        raise SuiteError(
            "fedbn has nothing to keep local",
            expected="a backbone with batch normalisation",
            found=f"a {type(module).__name__} without any",
            mend="use fedavg, which is the same here",
        )
    return names


def classifier(module: nn.Module) -> tuple[str, ...]:
    """The parameters of the last layer that has any."""
    last = last_layer(module)
    (prefix,) = (name for name, layer in module.named_modules() if layer is last)
    return tuple(
        f"{prefix}.{leaf}" if prefix else leaf for leaf, _ in last.named_parameters(recurse=False)
    )


def holding(places: Tensor, parameters: Tensor) -> Hook:
    """A hook under which the elements ``places`` (p,) int64 stay what they are.

    Their gradients are zero; what weight decay does to them is undone.
    """
    kept = parameters.index_select(0, places)

    def hook(parameters: Tensor, gradients: Tensor) -> None:
        gradients.index_fill_(0, places, 0.0)
        parameters.index_copy_(0, places, kept)

    return hook


def classifier_then_body(visit: Visit) -> None:
    """FedRep: ``head_epochs`` on the personal classifier, then the local epochs on the body.

    A straggler's part is one of the local epochs; the classifier has all of its own.
    """
    weights, head = visit.parameters, visit.personal
    is_body = torch.ones_like(weights, dtype=torch.bool).index_fill_(0, head, False)
    body = is_body.nonzero().flatten()
    hold_body = holding(body, weights)
    visit.train(hold_body, epochs=visit.settings["head_epochs"], purpose="fedrep-classifier")
    hold_body(weights, visit.scratch)
    hold_head = holding(head, weights)
    visit.train(hold_head)
    hold_head(weights, visit.scratch)
    visit.norm = None


def train_own_model(visit: Visit) -> None:
    """Ditto: the client's own model v takes local steps on F(v) + λ/2·‖v - w₀‖²."""
    strength, start, flat = visit.settings["lambda"], visit.start, visit.trainer.flat
    own = own_model(visit.state)
    flat.restore(own)

    def hook(parameters: Tensor, gradients: Tensor) -> None:
        gradients.add_(parameters, alpha=strength).sub_(start, alpha=strength)

    visit.train(hook, purpose="ditto")
    for name, vector in flat.vectors.items():
        own[name].copy_(vector)


ROWS = {
    "fedbn": Strategy(
        source="Li, Jiang et al. 2021 (ICLR), Algorithm 1",
        personal=normalisation,
        keeps_buffers=True,
    ),
    "fedper": Strategy(
        source="Arivazhagan et al. 2019 (arXiv:1912.00818), Algorithms 1 and 2",
        personal=classifier,
    ),
    "fedrep": Strategy(
        source="Collins et al. 2021 (ICML), Algorithm 1",
        local=classifier_then_body,
        personal=classifier,
    ),
    "ditto": Strategy(
        source="Li, Hu et al. 2021 (ICML), Algorithm 1, with FedAvg's global model",
        finish=train_own_model,
        keeps_model=True,
    ),
}
