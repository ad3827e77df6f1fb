"""The training step of a network that ends in linear layers, their gradient written out.

For ``Flatten, Linear, ReLU, …, Linear`` the backward pass is a handful of matrix products, and with
small batches what autograd adds to them (its graph, one tensor a gradient, a copy into the flat
vector) costs more than they do. Here gradients are written where they belong; and where nothing but
plain SGD wants them, no gradient is formed at all: the update w ← w - lr·δᵀx is one matrix product
that accumulates into the weights. What comes before those layers, if anything does, is left to
autograd.

One thread and a batch of 10, against autograd: 2NN of McMahan et al. 2017 takes 0.37 of the time,
or 0.54 where a gradient is formed; their CNN, whose weights are nearly all in linear layers, 0.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.backbone import Classifier
from bench.models.flat import FlatModel
from bench.training.execution import EAGER
from bench.training.optimizers import Optimizer, is_plain_sgd
from bench.training.step import AutogradStep, Hook, hooks_of
from bench.training.tasks import Task

LINEAR = (nn.Linear, Classifier)
"""The layers that are x·Wᵀ + b in fp32: exactly these, not their subclasses."""
_masked = torch.ops.aten.threshold_backward.default
"""(gradient, value, 0) → the gradient where ReLU's value is above 0, else 0."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A network as some modules, one after the other, and the linear layers it ends in."""

    body: tuple[nn.Module, ...]
    """What comes before ``Flatten``, often nothing."""
    linear: tuple[str, ...]
    """The names of the linear layers, between which there are ReLUs."""


def ending(module: nn.Module) -> Ending | None:
    """``module`` as a body and ``Flatten, Linear, ReLU, …, Linear``, where it is that and every
    parameter is trained and used once; otherwise None.

    A module's ``forward`` may do anything, so only ``nn.Sequential``'s own is trusted.
    """
    if type(module).forward is not nn.Sequential.forward:
        return None
    names, modules = [*module._modules], [*module.children()]
    flatten = next((i for i, m in enumerate(modules) if _flattens(m)), len(modules))
    linear, relu = modules[flatten + 1 :: 2], modules[flatten + 2 :: 2]
    used = [p for m in modules for p in m.parameters()]
    expected = (
        len(names) == len(modules)
        and len(linear) == len(relu) + 1
        and all(type(m) in LINEAR and m.bias is not None for m in linear)
        and all(type(m) is nn.ReLU for m in relu)
        and all(p.requires_grad for p in used)
        and len(used) == len([*module.parameters()])
    )
    return Ending(tuple(modules[:flatten]), tuple(names[flatten + 1 :: 2])) if expected else None


def _flattens(module: nn.Module) -> bool:
    return type(module) is nn.Flatten and module.start_dim == 1 and module.end_dim == -1


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer, and its gradient, as views into the flat vectors."""

    weight: Tensor
    """(o, i)."""
    transposed: Tensor
    """(i, o), the same memory."""
    bias: Tensor
    """(o,)."""
    weight_gradient: Tensor
    bias_gradient: Tensor


class DenseStep:
    """The step for a network that :func:`ending` recognises, in fp32, on any device.

    The same as :class:`~bench.training.step.AutogradStep` to rounding. Where modules carry hooks,
    which only a call of the module runs, that step is taken. ``gradients_flat`` holds the gradient
    only after steps with a ``hook``, or of an optimiser other than plain SGD.
    """

    execution = EAGER

    def __init__(self, flat: FlatModel, task: Task, optimizer: Optimizer) -> None:
        found = ending(flat.module)
        assert found is not None, "the network does not end in a chain of linear layers"
        self._flat = flat
        self._task = task
        self._optimizer = optimizer
        self._autograd = AutogradStep(flat, task, optimizer, None)
        self._plain = is_plain_sgd(optimizer)
        self._hooks = hooks_of(flat.module)
        self._layers = [_layer(flat, name) for name in found.linear]
        self._body = found.body
        self._body_parameters = [p for m in found.body for p in m.parameters()]
        places = flat.layout.parameters[: len(self._body_parameters)]
        self._body_weights = [slot.view(flat.parameters_flat) for slot in places]
        self._body_gradients = [slot.view(flat.gradients_flat) for slot in places]

    def expect(self, batch_size: int | None) -> None:
        """Every batch is taken alike."""

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar."""
        if any(self._hooks):
            return self._autograd(inputs, targets, hook)
        features = inputs
        for module in self._body:
            features = module(features)
        features = features.flatten(1)
        flat = self._flat
        with torch.no_grad():
            values = self._values(features.detach())
            loss, delta = self._task.differentiate(values.pop(), targets)
            if self._plain and hook is None:
                self._descend(values, delta, features)
                return loss
            self._backward(values, delta, features)
            if hook is not None:
                hook(flat.parameters_flat, flat.gradients_flat)
            self._optimizer.step(flat.parameters_flat, flat.gradients_flat)
        return loss

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, 1, h, w) → (b, outputs) logits."""
        return self._autograd.forward(inputs)

    def _values(self, features: Tensor) -> list[Tensor]:
        """What enters each layer, (b, i), and last of all the logits, (b, o)."""
        values = [features]
        for layer in self._layers[:-1]:
            values.append(torch.addmm(layer.bias, values[-1], layer.transposed).relu_())
        last = self._layers[-1]
        values.append(torch.addmm(last.bias, values[-1], last.transposed))
        return values

    def _backward(self, values: list[Tensor], delta: Tensor, features: Tensor) -> None:
        """The gradient into ``gradients_flat``; ``delta`` (b, o) is that of the logits."""
        for number in range(len(values) - 1, -1, -1):
            layer, value = self._layers[number], values[number]
            torch.mm(delta.t(), value, out=layer.weight_gradient)
            torch.sum(delta, 0, out=layer.bias_gradient)
            delta = self._below(number, value, delta)
        if self._body_parameters:
            torch._foreach_copy_(self._body_gradients, self._through_body(features, delta))

    def _descend(self, values: list[Tensor], delta: Tensor, features: Tensor) -> None:
        """w ← w - lr·(gradient), layer by layer, each once its weights are no longer needed."""
        lr = self._optimizer.lr
        ones = delta.new_ones(len(delta))
        for number in range(len(values) - 1, -1, -1):
            layer, value, above = self._layers[number], values[number], delta.t()
            delta = self._below(number, value, delta)
            layer.weight.addmm_(above, value, alpha=-lr)
            layer.bias.addmv_(above, ones, alpha=-lr)
        if self._body_parameters:
            gradients = self._through_body(features, delta)
            torch._foreach_add_(self._body_weights, gradients, alpha=-lr)

    def _below(self, number: int, value: Tensor, delta: Tensor) -> Tensor:
        """(b, i) the gradient of what layer ``number`` was given, ``value``, before its ReLU.

        Nothing asks for that of the images: it is then what was given.
        """
        if number:
            return _masked(torch.mm(delta, self._layers[number].weight), value, 0)
        return torch.mm(delta, self._layers[0].weight) if self._body_parameters else delta

    def _through_body(self, features: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            end = _End.apply(features, delta)
        return torch.autograd.grad(
            end, self._body_parameters, allow_unused=True, materialize_grads=True
        )


class _End(torch.autograd.Function):
    """A scalar whose gradient in ``features`` is ``delta``.

    Given ``delta`` as it is, ``torch.autograd.grad`` first imports sympy to compare two shapes,
    which takes as long as twenty steps.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, delta: Tensor) -> Tensor:
        ctx.save_for_backward(delta)
        return delta.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (delta,) = ctx.saved_tensors
        return delta, None


def _layer(flat: FlatModel, name: str) -> Layer:
    weight, bias = (
        next(slot for slot in flat.layout.parameters if slot.name == f"{name}.{leaf}")
        for leaf in ("weight", "bias")
    )
    return Layer(
        weight=weight.view(flat.parameters_flat),
        transposed=weight.view(flat.parameters_flat).t(),
        bias=bias.view(flat.parameters_flat),
        weight_gradient=weight.view(flat.gradients_flat),
        bias_gradient=bias.view(flat.gradients_flat),
    )
