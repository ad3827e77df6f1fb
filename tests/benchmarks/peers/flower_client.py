"""A client of Flower's simulation; in a module of its own, which the actors import.

Actors get no command line, so the workload is named by ``$PEER_WORKLOAD``.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from flwr.client import NumPyClient
from networks import network
from workload import LEARNING_RATE, WORKLOADS, data, rows

WORKLOAD = WORKLOADS[os.environ["PEER_WORKLOAD"]]


@cache
def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """The data, once an actor."""
    pixels, labels = data(WORKLOAD)
    return torch.from_numpy(pixels), torch.from_numpy(labels)


@cache
def model() -> torch.nn.Module:
    """The network, once an actor."""
    torch.set_num_threads(1)
    return network(WORKLOAD.network)


class Client(NumPyClient):
    """One epoch of SGD."""

    def __init__(self, number: int) -> None:
        self._rows = rows(WORKLOAD, number)

    def fit(self, parameters: Any, config: Any) -> Any:
        module = model()
        own = list(module.parameters())
        with torch.no_grad():
            for parameter, value in zip(own, parameters, strict=True):
                parameter.copy_(torch.from_numpy(value))
        images, targets = (t[self._rows] for t in tensors())
        inputs = images.unsqueeze(1).float().div_(255)
        for batch in torch.randperm(len(inputs)).split(WORKLOAD.batch):
            loss = F.cross_entropy(module(inputs[batch]), targets[batch])
            gradients = torch.autograd.grad(loss, own)
            with torch.no_grad():
                torch._foreach_add_(own, gradients, alpha=-LEARNING_RATE)
        return [p.detach().numpy() for p in own], len(inputs), {}
