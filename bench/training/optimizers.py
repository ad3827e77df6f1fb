"""Local optimisers over one flat vector, each step one fused kernel, in place.

torch's own fused kernels are called directly: importing ``torch.optim``'s classes into use pulls in
``torch._dynamo``, which costs a second. The update rules, and the order of operations, are those of
``torch.optim.SGD`` (Sutskever et al. 2013), ``Adam`` (Kingma & Ba 2015) and ``AdamW`` (Loshchilov &
Hutter 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.suites.choice import Choice

State = dict[str, Tensor]
"""An optimiser's memory by name."""


class Optimizer(Protocol):
    """An update rule with its state."""

    lr: float
    """The learning rate; may be changed between steps."""
    state: State
    """The optimiser's own memory, for export; the live tensors."""

    def new_state(self, like: Tensor) -> State:
        """The memory before the first step, for a vector like this one."""
        ...

    def step(self, parameters: Tensor, gradients: Tensor) -> None:
        """One update of (P,) ``parameters`` in place; ``gradients`` is left as it is."""
        ...

    def step_each(
        self, parameters: list[Tensor], gradients: list[Tensor], states: Sequence[State]
    ) -> None:
        """One update of each of several vectors by its own state, in as few kernels as one."""
        ...


class SGD:
    """Stochastic gradient descent, with momentum where it is not zero."""

    def __init__(
        self,
        like: Tensor,
        *,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        assert momentum > 0 or not nesterov, "Nesterov's step needs momentum"
        self.lr = lr
        self._momentum = momentum
        self._nesterov = nesterov
        self._weight_decay = weight_decay
        self.plain = not momentum and not weight_decay
        """Whether a step is w ← w - lr·g and nothing else."""
        self.state = self.new_state(like)

    def new_state(self, like: Tensor) -> State:
        """The momentum, zero; nothing where there is none."""
        return {"momentum": torch.zeros_like(like)} if self._momentum else {}

    def step(self, parameters: Tensor, gradients: Tensor) -> None:
        """w ← w - lr·v, v ← momentum·v + g + weight_decay·w (Nesterov: g + momentum·v)."""
        if self.plain:
            parameters.add_(gradients, alpha=-self.lr)
        else:
            self.step_each([parameters], [gradients], [self.state])

    def step_each(
        self, parameters: list[Tensor], gradients: list[Tensor], states: Sequence[State]
    ) -> None:
        """:meth:`step` for several vectors."""
        if self.plain:
            torch._foreach_add_(parameters, gradients, alpha=-self.lr)
            return
        torch._fused_sgd_(
            parameters,
            gradients,
            [tensor for state in states for tensor in state.values()],
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=self.lr,
            dampening=0.0,
            nesterov=self._nesterov,
            maximize=False,
            is_first_step=False,  # a zero buffer gives what the first step's copy gives
        )


class Adam:
    """Adam, and AdamW where ``decoupled``: weight decay outside the adaptive step."""

    def __init__(
        self,
        like: Tensor,
        *,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        self.lr = lr
        self._beta1, self._beta2 = beta1, beta2
        self._eps = eps
        self._weight_decay = weight_decay
        self._kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self.state = self.new_state(like)

    def new_state(self, like: Tensor) -> State:
        """No steps yet, and moments of zero."""
        return {
            "steps": torch.zeros((), device=like.device),
            "first_moment": torch.zeros_like(like),
            "second_moment": torch.zeros_like(like),
        }

    def step(self, parameters: Tensor, gradients: Tensor) -> None:
        """Bias-corrected; ``state["steps"]`` counts."""
        self.step_each([parameters], [gradients], [self.state])

    def step_each(
        self, parameters: list[Tensor], gradients: list[Tensor], states: Sequence[State]
    ) -> None:
        """:meth:`step` for several vectors."""
        steps = [state["steps"] for state in states]
        torch._foreach_add_(steps, 1)
        self._kernel(
            parameters,
            gradients,
            [state["first_moment"] for state in states],
            [state["second_moment"] for state in states],
            [],
            steps,
            lr=self.lr,
            beta1=self._beta1,
            beta2=self._beta2,
            weight_decay=self._weight_decay,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
        )


def is_plain_sgd(optimizer: Optimizer) -> bool:
    """Whether a step is w ← w - lr·g and nothing else."""
    return isinstance(optimizer, SGD) and optimizer.plain


def optimizer_for(choice: Choice, like: Tensor) -> Optimizer:
    """``sgd``, ``adam`` or ``adamw`` with the choice's parameters, for a vector like ``like``."""
    values: dict[str, Any] = dict(choice.parameters)
    if choice.name == "sgd":
        return SGD(like, **values)
    assert choice.name in ("adam", "adamw"), f"unknown optimiser {choice.name}"
    return Adam(like, decoupled=choice.name == "adamw", **values)


def reset(optimizer: Optimizer) -> None:
    """Forgets everything, in place: the optimiser is as new."""
    for tensor in optimizer.state.values():
        tensor.zero_()


def restore(optimizer: Optimizer, state: State) -> None:
    """Copies ``state`` (from an optimiser of the same kind and size) in; itself is a no-op."""
    assert state.keys() == optimizer.state.keys(), "the state of another optimiser"
    for name, tensor in optimizer.state.items():
        if state[name] is not tensor:
            tensor.copy_(state[name])
