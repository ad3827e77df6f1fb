"""One training step: forward, backward, hook, update, over one model and its flat vectors.

The step takes its inputs as tensors, returns its loss as a tensor and never asks the device for a
value, so it can be queued ahead on a GPU and is what a graph capture would wrap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from bench.models.flat import FlatModel
from bench.training.device import Precision
from bench.training.optimizers import Optimizer
from bench.training.tasks import Task

Hook = Callable[[Tensor, Tensor], None]
"""hook(parameters_flat, gradients_flat), between backward and update; it may change the gradients
(FedProx adds µ(w - w₀), SCAFFOLD adds c - cᵢ)."""


FEW_TENSORS = 32
"""Up to this many parameter tensors, gradients are taken and then copied into the flat vector; with
more, autograd adds them into the zeroed vector itself. The first saves the fill and the addition,
the second the many small copies (2NN and the CNN of McMahan et al. 2017: 5 % a step; DenseNet121's
364 tensors: 1 % the other way). The bits are the same."""


class Step(Protocol):
    """The function (inputs, targets, hook) → loss, with the update as its effect."""

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar."""
        ...

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, 1, h, w) → (b, outputs) logits in the run's precision."""
        ...


def step_for(flat: FlatModel, task: Task, optimizer: Optimizer, precision: Precision) -> Step:
    """The fastest step for this network on this device; all agree to rounding.

    What a step is chosen by is the network's structure, never its name.
    """
    from bench.training.dense import DenseStep, chain

    if precision.autocast is None and chain(flat.module) is not None:
        return DenseStep(flat, task, optimizer)
    return AutogradStep(flat, task, optimizer, precision.autocast)


class AutogradStep:
    """The step for any network."""

    def __init__(
        self,
        flat: FlatModel,
        task: Task,
        optimizer: Optimizer,
        autocast: torch.dtype | None,
    ) -> None:
        self._flat = flat
        self._module = flat.module
        self._task = task
        self._optimizer = optimizer
        self._autocast = autocast
        self._device_type = flat.device.type
        self._parameters = [p for p in flat.module.parameters() if p.requires_grad]
        self._gradients = [slot.view(flat.gradients_flat) for slot in flat.layout.parameters]

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar."""
        flat = self._flat
        loss = self._task.loss(self.forward(inputs), targets)
        self._backward(loss)
        if hook is not None:
            hook(flat.parameters_flat, flat.gradients_flat)
        self._optimizer.step(flat.parameters_flat, flat.gradients_flat)
        return loss.detach()

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, 1, h, w) → (b, outputs) logits in the run's precision."""
        if self._autocast is None:
            return self._module(inputs)
        with torch.autocast(self._device_type, self._autocast):
            return self._module(inputs)

    def _backward(self, loss: Tensor) -> None:
        """The gradient of ``loss`` into ``gradients_flat``."""
        if len(self._parameters) > FEW_TENSORS:
            self._flat.zero_gradients()
            loss.backward()
            return
        gradients = torch.autograd.grad(
            loss, self._parameters, allow_unused=True, materialize_grads=True
        )
        torch._foreach_copy_(self._gradients, gradients)
