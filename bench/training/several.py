"""Clients trained at once, on a GPU that the steps of one do not fill.

A step of a small network on ten images is a dozen kernels of a few microseconds: the GPU waits for
each to be started, and most of it has nothing to do. Here one CUDA graph holds the steps of several
clients as branches that do not wait for each other, each with parameters, gradients and images of
its own; one update over all their vectors follows. Every client takes the steps that it would take
by itself, with the same kernels.

Whether that is faster is for :mod:`bench.training.ahead` to find out.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.flat import FlatModel
from bench.suites.choice import Choice
from bench.training.graphs import BatchGraph, Capture, choosing_kernels, undisturbed
from bench.training.optimizers import optimizer_for, reset
from bench.training.step import AutogradStep, copy_together
from bench.training.tasks import Task

MOST_SIZES = 16
"""Batch sizes that there is a graph for; clients with others are trained one after another."""

Batches = Iterator[tuple[Tensor, Tensor]]
"""(b, 1, h, w) inputs and targets, step by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A client's training that is done."""

    parameters: Tensor
    """(P,) live: valid until others are trained."""
    loss: float
    """Summed over the images passed."""
    square: float
    """‖w‖₂²."""
    examples: int
    steps: int
    seconds: float
    """Its share of what it took with the others."""


class Several:
    """Copies of a network that keeps no running statistics, trained by the same steps.

    Parameters
    ----------
    flat : the network that is copied.
    optimizer : the scenario's; each copy's own state, in one vector.
    autocast : as a step takes it.
    copies : trained at once, at the most.
    capture : records the copies' work on one batch each.
    streams : one a copy, for work that does not wait for the others'; none on a CPU, where the
        copies follow each other.
    """

    def __init__(
        self,
        flat: FlatModel,
        task: Task,
        optimizer: Choice,
        autocast: torch.dtype | None,
        *,
        copies: int,
        capture: Capture,
        streams: Sequence[torch.cuda.Stream] = (),
    ) -> None:
        assert not flat.buffers_flat.numel(), "running statistics would have to be kept apart"
        assert len(streams) in (0, copies), "a stream for some of the copies"
        self.copies = copies
        self._flat = flat
        self._capture = capture
        self._streams = streams
        shape = (copies, flat.parameters_flat.numel())
        self._parameters = torch.zeros(shape, device=flat.device)
        self._gradients = torch.zeros(shape, device=flat.device)
        self._optimizer = optimizer_for(optimizer, self._parameters.view(-1))
        self._steps: list[AutogradStep] = []
        for own, gradients in zip(self._parameters, self._gradients, strict=True):
            module = copy.deepcopy(flat.module).train()
            twin = FlatModel(module, flat.device, parameters=own, gradients=gradients)
            self._steps.append(AutogradStep(twin, task, self._optimizer, autocast))
        self._graphs: dict[int, BatchGraph] = {}

    @property
    def ready(self) -> set[int]:
        """The batch sizes that were prepared for."""
        return set(self._graphs)

    def prepare(self, inputs: Tensor, targets: Tensor, *, whole: bool) -> None:
        """Records the graph for batches like this one, where there is none yet.

        Raises RuntimeError where the work cannot be recorded, draws random numbers, whose order
        would be another, or where there are graphs enough.
        """
        if len(inputs) in self._graphs:
            return
        if len(self._graphs) >= MOST_SIZES:
            raise RuntimeError(f"there are batches of more than {MOST_SIZES} sizes")
        held, held_targets = (_stacked(t, self.copies) for t in (inputs, targets))
        with undisturbed(self._flat), choosing_kernels() if whole else nullcontext():
            before = _random_state(self._flat.device)
            graph = BatchGraph.record(
                self._losses, held, held_targets, self._capture, losses=(self.copies,)
            )
            if not torch.equal(before, _random_state(self._flat.device)):
                raise RuntimeError("it draws random numbers")
        self._graphs[len(inputs)] = graph

    def train(self, start: Tensor, feeds: Sequence[Batches]) -> list[Trained]:
        """Trains a copy on each of ``feeds``, whose batches are of equal sizes step by step and
        were prepared for, from (P,) ``start``. Waits for the device once."""
        began = time.perf_counter()
        reset(self._optimizer)
        self._parameters.copy_(start)
        totals = torch.zeros(self.copies, device=self._flat.device)
        examples = steps = 0
        for given in zip(*feeds, strict=True):
            size = len(given[0][0])
            graph = self._graphs[size]
            copy_together(graph.inputs.unbind()[: len(given)], [inputs for inputs, _ in given])
            copy_together(graph.targets.unbind()[: len(given)], [targets for _, targets in given])
            graph.replay()
            self._optimizer.step(self._parameters.view(-1), self._gradients.view(-1))
            totals.add_(graph.loss, alpha=size)
            examples += size
            steps += 1
        squares = torch.linalg.vecdot(self._parameters, self._parameters)
        losses, norms = torch.stack([totals, squares]).tolist()
        seconds = (time.perf_counter() - began) / len(feeds)
        return [
            Trained(
                parameters=self._parameters[k],
                loss=losses[k],
                square=norms[k],
                examples=examples,
                steps=steps,
                seconds=seconds,
            )
            for k in range(len(feeds))
        ]

    def _losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """(c,) each copy's loss; its gradient where its gradients lie."""
        if not self._streams:
            each = zip(self._steps, inputs, targets, strict=True)
            return torch.stack([step.gradients(*given) for step, *given in each])
        current = torch.cuda.current_stream()
        losses = []
        for stream, step, *given in zip(self._streams, self._steps, inputs, targets, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                losses.append(step.gradients(*given))
        for stream in self._streams:
            current.wait_stream(stream)
        return torch.stack(losses)


def _stacked(like: Tensor, copies: int) -> Tensor:
    """(copies, …) zeros, each strided as ``like`` is."""
    strides = (max(1, like.numel()), *like.stride())
    shape = (copies, *like.shape)
    return torch.empty_strided(shape, strides, dtype=like.dtype, device=like.device).zero_()


def _random_state(device: torch.device) -> Tensor:
    """Of the generator that kernels on the device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
