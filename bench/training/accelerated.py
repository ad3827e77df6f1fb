"""The step whose whole batches are compiled, replayed from a CUDA graph, or both.

Only loss and gradient are: the hook and the update work on flat vectors, are a handful of kernels,
and stay outside, so one graph serves every strategy, learning rate and client. The last, partial
batch of a pass is executed operation by operation. (Filling it up with images of weight zero would
change the batch's mean and variance, and with them the result.) So is every batch of a client that
has no whole one, of ``batch_size: all``, and of a network that carries hooks, which MOON's does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.models.flat import FlatModel
from bench.training.compilation import Network
from bench.training.execution import Execution
from bench.training.graphs import BatchGraph, Capture, choosing_kernels, undisturbed
from bench.training.optimizers import Optimizer
from bench.training.step import AutogradStep, Hook, hooks_of
from bench.training.tasks import Task

MOST_GRAPHS = 16
"""Batch sizes kept ready at a time; the one made first goes."""
NO_WHOLE_BATCH = "there was no whole batch of a fixed size"
HOOKS = "the strategy hooks into the network"
Compiler = Callable[[nn.Module], Network]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What executes whole batches of one size."""

    step: AutogradStep
    """With the compiled network or the network itself."""
    graph: BatchGraph | None
    execution: Execution
    """What it came to; where less than was wanted, with the reason."""


class AcceleratedStep:
    """An :class:`~bench.training.step.AutogradStep` with a faster way for whole batches.

    Parameters
    ----------
    wanted : what is tried.
    compiler : makes a network of the module that does the same, faster; used where ``wanted`` is to
        compile.
    capture : records work; used where ``wanted`` is a graph.
    """

    def __init__(
        self,
        flat: FlatModel,
        task: Task,
        optimizer: Optimizer,
        autocast: torch.dtype | None,
        *,
        wanted: Execution,
        compiler: Compiler,
        capture: Capture | None,
    ) -> None:
        self._flat = flat
        self._task, self._optimizer, self._autocast = task, optimizer, autocast
        self._wanted = wanted
        self._compiler = compiler
        self._capture = capture if wanted.graph else None
        self._eager = self._step_of(flat.module)
        self._compiled: AutogradStep | None = None
        self._hooks = hooks_of(flat.module)
        self._ready: dict[int, Ready] = {}
        self._size: int | None = None
        self.execution = wanted

    def _step_of(self, network: Network) -> AutogradStep:
        return AutogradStep(
            self._flat, self._task, self._optimizer, self._autocast, network=network
        )

    def expect(self, batch_size: int | None) -> None:
        """Batches of that many images are whole; None, or hooks on the network: none are."""
        why = NO_WHOLE_BATCH
        if any(self._hooks):
            why, batch_size = HOOKS, None
        self._size = batch_size
        if not self._ready:
            self.execution = replace(
                self._wanted, graph=False, compiled=False, reason=f"{self._wanted.reason}; {why}"
            )

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar.

        That of a replayed batch is overwritten by the next one's.
        """
        if len(inputs) != self._size:
            return self._eager(inputs, targets, hook)
        ready = self._ready.get(self._size) or self._prepare(inputs, targets)
        self.execution = ready.execution
        if ready.graph is None:
            return ready.step(inputs, targets, hook)
        loss = ready.graph(inputs, targets)
        self._eager.update(hook)
        return loss

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, 1, h, w) → (b, outputs) logits, operation by operation."""
        return self._eager.forward(inputs)

    def _prepare(self, inputs: Tensor, targets: Tensor) -> Ready:
        """Tries what is wanted for batches of this size; the model is left as it was."""
        step, graph = self._eager, None
        failures: list[str] = []
        with undisturbed(self._flat), choosing_kernels():
            if self._wanted.compiled:
                compiled = self._compile(inputs, targets, failures)
                step = compiled or step
            if self._capture is not None:
                graph = self._record(step, inputs, targets, failures)
        execution = replace(
            self._wanted,
            graph=graph is not None,
            compiled=step is not self._eager,
            reason="; ".join([self._wanted.reason, *failures]),
        )
        ready = Ready(step=step, graph=graph, execution=execution)
        self._ready[len(inputs)] = ready
        if len(self._ready) > MOST_GRAPHS:
            del self._ready[next(iter(self._ready))]
        return ready

    def _compile(self, inputs: Tensor, targets: Tensor, failures: list[str]) -> AutogradStep | None:
        """The step with the compiled network, after its first execution."""
        try:
            if self._compiled is None:
                self._compiled = self._step_of(self._compiler(self._flat.module))
            self._compiled.gradients(inputs, targets)
        except Exception as error:  # a compiler's errors share no base class
            failures.append(f"not compiled: {_in_a_line(error)}")
            return None
        return self._compiled

    def _record(
        self, step: AutogradStep, inputs: Tensor, targets: Tensor, failures: list[str]
    ) -> BatchGraph | None:
        assert self._capture is not None
        try:
            return BatchGraph.record(step.gradients, inputs, targets, self._capture)
        except Exception as error:  # what an operation raises under capture is up to it
            failures.append(f"no graph: {_in_a_line(error)}")
            self._forget_graphs()
            return None

    def _forget_graphs(self) -> None:
        """They are made again at their next batch: a failed capture may have broken them."""
        self._ready = {size: r for size, r in self._ready.items() if r.graph is None}


def _in_a_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
