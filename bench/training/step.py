"""One training step: forward, backward, hook, update, over one model and its flat vectors.

The step takes its inputs as tensors, returns its loss as a tensor and never asks the device for a
value, so it can be queued ahead on a GPU, and captured (:mod:`bench.training.graphs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from bench.models.flat import FlatModel
from bench.training.compilation import Network, compile_network
from bench.training.device import Precision
from bench.training.execution import EAGER, Execution
from bench.training.optimizers import Optimizer
from bench.training.tasks import Task

Hook = Callable[[Tensor, Tensor], None]
"""hook(parameters_flat, gradients_flat), between backward and update; it may change the gradients
(FedProx adds µ(w - w₀), SCAFFOLD adds c - cᵢ)."""


FEW_TENSORS = 32
"""Up to this many parameter tensors, gradients are taken and then copied into the flat vector; with
more, autograd adds them into the zeroed vector itself. The first saves the fill and the addition,
the second the many small copies (2NN and the CNN of McMahan et al. 2017: 5 % a step; DenseNet121's
364 tensors: 1 % the other way). The bits are the same. On a GPU a few kernels copy them all, and
each addition would be a kernel of its own."""


class Step(Protocol):
    """The function (inputs, targets, hook) → loss, with the update as its effect."""

    execution: Execution
    """What whole batches are executed by; before :meth:`expect`, what is to be tried."""

    def expect(self, batch_size: int | None) -> None:
        """Says how large the whole batches that follow are; None where there is no fixed size."""
        ...

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar that
        is valid until the next call."""
        ...

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, 1, h, w) → (b, outputs) logits in the run's precision."""
        ...


def step_for(
    flat: FlatModel,
    task: Task,
    optimizer: Optimizer,
    precision: Precision,
    execution: Execution = EAGER,
) -> Step:
    """The fastest step for this network on this device; all agree to rounding.

    What a step is chosen by is the network's structure, never its name.
    """
    from bench.training.accelerated import AcceleratedStep
    from bench.training.dense import DenseStep, ending
    from bench.training.graphs import CudaCapture

    if execution.graph or execution.compiled:
        return AcceleratedStep(
            flat,
            task,
            optimizer,
            precision.autocast,
            wanted=execution,
            compiler=compile_network,
            capture=CudaCapture(flat.device) if execution.graph else None,
        )
    step: Step
    if precision.autocast is None and ending(flat.module) is not None:
        step = DenseStep(flat, task, optimizer)
    else:
        step = AutogradStep(flat, task, optimizer, precision.autocast)
    step.execution = execution
    return step


class AutogradStep:
    """The step for any network. ``network`` is what is called in place of the module itself."""

    execution = EAGER

    def __init__(
        self,
        flat: FlatModel,
        task: Task,
        optimizer: Optimizer,
        autocast: torch.dtype | None,
        *,
        network: Network | None = None,
    ) -> None:
        self._flat = flat
        self._network = flat.module if network is None else network
        self._task = task
        self._optimizer = optimizer
        self._autocast = autocast
        self._device_type = flat.device.type
        self._parameters = [p for p in flat.module.parameters() if p.requires_grad]
        self._gradients = [slot.view(flat.gradients_flat) for slot in flat.layout.parameters]

    def expect(self, batch_size: int | None) -> None:
        """Every batch is taken alike."""

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar."""
        loss = self.gradients(inputs, targets)
        self.update(hook)
        return loss

    def gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The first half: the loss, and its gradient in ``gradients_flat``."""
        loss = self._task.loss(self.forward(inputs), targets)
        self._backward(loss)
        return loss.detach()

    def update(self, hook: Hook | None) -> None:
        """The second half: what the hook makes of the gradient, and the optimiser of that."""
        flat = self._flat
        if hook is not None:
            hook(flat.parameters_flat, flat.gradients_flat)
        self._optimizer.step(flat.parameters_flat, flat.gradients_flat)

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, 1, h, w) → (b, outputs) logits in the run's precision."""
        if self._autocast is None:
            return self._network(inputs)
        with torch.autocast(self._device_type, self._autocast):
            return self._network(inputs)

    def _backward(self, loss: Tensor) -> None:
        """The gradient of ``loss`` into ``gradients_flat``."""
        if self._device_type == "cpu" and len(self._parameters) > FEW_TENSORS:
            self._flat.zero_gradients()
            loss.backward()
            return
        gradients = torch.autograd.grad(
            loss, self._parameters, allow_unused=True, materialize_grads=True
        )
        if self._device_type == "cpu":
            torch._foreach_copy_(self._gradients, gradients)
        else:
            copy_together(self._gradients, gradients)


def copy_together(to: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """Copies each tensor of ``given`` into its place in ``to``, in as few kernels as there can be.

    Only tensors that are strided alike are copied together. The stride along an axis of one element
    says nothing (1×1 convolutions have two such axes, and libraries differ in what they put there),
    so where two differ in no other the place's is taken.
    """
    alike, rest = [], []
    for place, tensor in zip(to, given, strict=True):
        strides = zip(place.shape, place.stride(), tensor.stride(), strict=True)
        if all(size == 1 or mine == its for size, mine, its in strides):
            alike.append((place, tensor.as_strided(place.shape, place.stride())))
        else:
            rest.append((place, tensor))
    if alike:
        torch._foreach_copy_([place for place, _ in alike], [tensor for _, tensor in alike])
    for place, tensor in rest:
        place.copy_(tensor)


def hooks_of(module: nn.Module) -> list[Mapping[int, object]]:
    """The live tables of hooks that a call of ``module`` runs, now empty or not."""
    return [
        hooks
        for part in module.modules()
        for hooks in (
            part._forward_hooks,
            part._forward_pre_hooks,
            part._backward_hooks,
            part._backward_pre_hooks,
        )
    ]
