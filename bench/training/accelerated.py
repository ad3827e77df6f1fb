"""The step whose whole batches are compiled, replayed from a CUDA graph, or both.

Only loss and gradient are: the hook and the update work on flat vectors, are a handful of kernels,
and stay outside, so one graph serves every strategy, learning rate and client.

Batches of another size (the last ones of a pass, and those of ``batch_size: all``) have their own
graph where there are graphs and that size comes again and again; they are never compiled, and their
kernels never timed, which would take longer than they do. Until then they are executed operation by
operation, and so is everything while the network carries hooks, as MOON's does. Filling a last
batch up with images of weight zero, so that it could pass for a whole one, would change its mean
and variance, and with them the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.errors import first_line
from bench.models.flat import FlatModel
from bench.training.compilation import Network
from bench.training.execution import Execution
from bench.training.graphs import BatchGraph, Capture, choosing_kernels, undisturbed
from bench.training.optimizers import Optimizer
from bench.training.step import AutogradStep, Hook, hooks_of
from bench.training.tasks import Task

MOST_GRAPHS = 16
"""Sizes of whole batches kept ready at a time (the one made first goes), and as many of others."""
RECURRING = 4
"""Batches of a size, the last with a graph: making one costs about as many steps."""
NO_WHOLE_BATCH = "there was no whole batch of a fixed size"
HOOKS = "the strategy hooks into the network"
Compiler = Callable[[nn.Module], Network]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What executes batches of one size."""

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
        self._whole: dict[int, Ready] = {}
        self._others: dict[int, Ready] = {}
        self._seen: Counter[int] = Counter()
        self._size: int | None = None
        self._hooked = False
        self.execution = wanted

    def _step_of(self, network: Network) -> AutogradStep:
        return AutogradStep(
            self._flat, self._task, self._optimizer, self._autocast, network=network
        )

    def expect(self, batch_size: int | None) -> None:
        """Batches of that many images are whole; None: none are."""
        self._size = batch_size
        self._hooked = any(self._hooks)
        if not (self._whole or self._others):
            why = HOOKS if self._hooked else NO_WHOLE_BATCH
            self.execution = replace(
                self._wanted, graph=False, compiled=False, reason=f"{self._wanted.reason}; {why}"
            )

    def __call__(self, inputs: Tensor, targets: Tensor, hook: Hook | None = None) -> Tensor:
        """(b, 1, h, w) fp32 and the task's targets → the batch's mean loss, a detached scalar.

        That of a replayed batch is overwritten by the next one's.
        """
        ready = None if self._hooked else self._ready_for(inputs, targets)
        if ready is None:
            return self._eager(inputs, targets, hook)
        if ready.graph is None:
            return ready.step(inputs, targets, hook)
        loss = ready.graph(inputs, targets)
        self._eager.update(hook)
        return loss

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, 1, h, w) → (b, outputs) logits, operation by operation."""
        return self._eager.forward(inputs)

    def _ready_for(self, inputs: Tensor, targets: Tensor) -> Ready | None:
        """What executes that batch, made where it is time; None: the plain step."""
        size = len(inputs)
        if size == self._size:
            ready = self._whole.get(size)
            if ready is None:
                with choosing_kernels():
                    ready = self._prepare(inputs, targets, compile=self._wanted.compiled)
                self._whole[size] = ready
                if len(self._whole) > MOST_GRAPHS:
                    del self._whole[next(iter(self._whole))]
            self.execution = ready.execution
            return ready
        if self._capture is None:  # a CPU's bits must not depend on what came before
            return None
        ready = self._others.get(size)
        if ready is None:
            self._seen[size] += 1
            if self._seen[size] < RECURRING or len(self._others) >= MOST_GRAPHS:
                return None
            ready = self._others[size] = self._prepare(inputs, targets, compile=False)
        if not self._whole:
            self.execution = ready.execution
        return ready

    def _prepare(self, inputs: Tensor, targets: Tensor, *, compile: bool) -> Ready:
        """Tries what is wanted for batches of this size; the model is left as it was."""
        step, graph = self._eager, None
        failures: list[str] = []
        with undisturbed(self._flat):
            if compile:
                step = self._compile(inputs, targets, failures) or step
            if self._capture is not None:
                graph = self._record(step, inputs, targets, failures)
        execution = replace(
            self._wanted,
            graph=graph is not None,
            compiled=step is not self._eager,
            reason="; ".join([self._wanted.reason, *failures]),
        )
        return Ready(step=step, graph=graph, execution=execution)

    def _compile(self, inputs: Tensor, targets: Tensor, failures: list[str]) -> AutogradStep | None:
        """The step with the compiled network, after its first execution."""
        try:
            if self._compiled is None:
                self._compiled = self._step_of(self._compiler(self._flat.module))
            self._compiled.gradients(inputs, targets)
        except Exception as error:  # a compiler's errors share no base class
            failures.append(f"not compiled: {first_line(error, named=True)}")
            return None
        return self._compiled

    def _record(
        self, step: AutogradStep, inputs: Tensor, targets: Tensor, failures: list[str]
    ) -> BatchGraph | None:
        assert self._capture is not None
        try:
            return BatchGraph.record(step.gradients, inputs, targets, self._capture)
        except Exception as error:  # what an operation raises under capture is up to it
            failures.append(f"no graph: {first_line(error, named=True)}")
            self._forget_graphs()
            return None

    def _forget_graphs(self) -> None:
        """They are made again at their next batch: a failed capture may have broken them."""
        for kept in (self._whole, self._others):
            for size in [size for size, ready in kept.items() if ready.graph is not None]:
                del kept[size]
