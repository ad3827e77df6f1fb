"""One training step: forward, backward, hook, update, over one model and its flat vectors.

The step takes its inputs as tensors, returns its loss as a tensor and never asks the device for a
value, so it can be queued ahead on a GPU and is what a graph capture would wrap.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.models.flat import FlatModel
from bench.training.optimizers import Optimizer
from bench.training.tasks import Task

Hook = Callable[[Tensor, Tensor], None]
"""hook(parameters_flat, gradients_flat), between backward and update; it may change the gradients
(FedProx adds µ(w - w₀), SCAFFOLD adds c - cᵢ)."""


class Step:
    """The function (inputs, targets, hook) → loss, with the update as its effect."""

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

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar."""
        flat = self._flat
        flat.gradients_flat.zero_()
        loss = self._task.loss(self.forward(inputs), targets)
        loss.backward()
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
