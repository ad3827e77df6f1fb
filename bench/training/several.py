"""Clients trained at once, on a GPU that the steps of one do not fill.

A step of a small network on ten images is a dozen kernels of a few microseconds: the GPU waits for
each to be started, and most of it has nothing to do. Here one CUDA graph holds the steps of several
clients as branches that do not wait for each other, each with parameters, gradients and images of
its own; one update of all their vectors follows. Every client takes the steps that it would take by
itself, with the same kernels.

Clients need not have as many images. Those that are at a batch of the same size go on together;
the branches of the others compute what nobody looks at. A last batch whose size few others have is
taken by its client alone, which then is back among the others.

Whether that is faster is for :mod:`bench.training.ahead` to find out.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.flat import FlatModel
from bench.suites.choice import Choice
from bench.training.graphs import BatchGraph, Capture, choosing_kernels, undisturbed
from bench.training.optimizers import optimizer_for
from bench.training.step import AutogradStep, copy_together
from bench.training.tasks import Task

MOST_SIZES = 16
"""Batch sizes that there is a graph for; clients take batches of others one after another."""
FEWEST = 4
"""A graph is replayed where one in so many of its copies, and two, have a batch for it."""

Batch = tuple[Tensor, Tensor]
"""(b, 1, h, w) inputs, and targets."""
Batches = Iterator[Batch]
"""Step by step."""


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
    """Its share, by images, of what it took with the others."""


class Several:
    """Copies of a network that keeps no running statistics, trained by the same steps.

    Parameters
    ----------
    flat : the network that is copied.
    optimizer : the scenario's; each copy has a state of its own.
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
        self._own = self._parameters.unbind()
        self._gradients = torch.zeros(shape, device=flat.device).unbind()
        self._optimizer = optimizer_for(optimizer, self._own[0])
        self._states = [self._optimizer.new_state(own) for own in self._own]
        self._steps: list[AutogradStep] = []
        for own, gradients in zip(self._own, self._gradients, strict=True):
            module = copy.deepcopy(flat.module).train()
            twin = FlatModel(module, flat.device, parameters=own, gradients=gradients)
            self._steps.append(AutogradStep(twin, task, self._optimizer, autocast))
        self._graphs: dict[int, BatchGraph] = {}

    @property
    def ready(self) -> set[int]:
        """The batch sizes that were prepared for."""
        return set(self._graphs)

    def enough(self, clients: int) -> bool:
        """Whether so many clients that have a batch of one size are worth a graph's replay."""
        return clients >= 2 and clients * FEWEST >= self.copies

    def prepare(self, inputs: Tensor, targets: Tensor, *, whole: bool) -> None:
        """Records the graph for batches like this one, where there is none yet and room for it.

        Raises RuntimeError where the work cannot be recorded, or draws random numbers, whose order
        would be another.
        """
        if len(inputs) in self._graphs or len(self._graphs) >= MOST_SIZES:
            return
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
        """Trains a copy on each of ``feeds`` from (P,) ``start``. Waits for the device once."""
        began = time.perf_counter()
        self._reset(start)
        totals = torch.zeros(self.copies, device=self._flat.device)
        examples, steps = [0] * len(feeds), [0] * len(feeds)
        for wave in self._waves(feeds):
            losses = self._backward(wave)
            self._optimizer.step_each(
                [self._own[k] for k in wave],
                [self._gradients[k] for k in wave],
                [self._states[k] for k in wave],
            )
            size = _size(wave)
            torch._foreach_add_([totals[k] for k in wave], losses, alpha=size)
            for k in wave:
                examples[k] += size
                steps[k] += 1
        squares = torch.linalg.vecdot(self._parameters, self._parameters)
        summed, norms = torch.stack([totals, squares]).tolist()
        seconds = time.perf_counter() - began
        return [
            Trained(
                parameters=self._own[k],
                loss=summed[k],
                square=norms[k],
                examples=examples[k],
                steps=steps[k],
                seconds=seconds * examples[k] / max(1, sum(examples)),
            )
            for k in range(len(feeds))
        ]

    def _reset(self, start: Tensor) -> None:
        self._parameters.copy_(start)
        for state in self._states:
            for tensor in state.values():
                tensor.zero_()

    def _waves(self, feeds: Sequence[Batches]) -> Iterator[dict[int, Batch]]:
        """By copy, batches of one size that are taken next: of all that have one, or of one alone.

        The fewer they are the sooner, so that they are soon back among the others.
        """
        at: dict[int, Batch] = {}

        def turn(copies: Iterable[int]) -> None:
            for k in copies:
                batch = next(feeds[k], None)
                if batch is None:
                    at.pop(k, None)
                else:
                    at[k] = batch

        turn(range(len(feeds)))
        while at:
            sizes: dict[int, list[int]] = {}
            for k, (inputs, _) in at.items():
                sizes.setdefault(len(inputs), []).append(k)
            alone = [k for size, those in sizes.items() if not self._go(size, those) for k in those]
            if alone:
                for k in alone:
                    yield {k: at[k]}
                turn(alone)
            else:
                fewest = min(sizes, key=lambda size: (len(sizes[size]), size))
                yield {k: at[k] for k in sizes[fewest]}
                turn(sizes[fewest])

    def _go(self, size: int, copies: Sequence[int]) -> bool:
        """Whether copies at a batch of that size take it together."""
        return size in self._graphs and self.enough(len(copies))

    def _backward(self, wave: Mapping[int, Batch]) -> list[Tensor]:
        """The losses, and the gradients where they lie."""
        if len(wave) == 1:
            return [self._steps[k].gradients(*batch) for k, batch in wave.items()]
        graph = self._graphs[_size(wave)]
        inputs, targets = zip(*wave.values(), strict=True)
        copy_together([graph.inputs[k] for k in wave], inputs)
        copy_together([graph.targets[k] for k in wave], targets)
        graph.replay()
        return [graph.loss[k] for k in wave]

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


def _size(wave: Mapping[int, Batch]) -> int:
    """Of each of its batches."""
    inputs, _ = next(iter(wave.values()))
    return len(inputs)


def _stacked(like: Tensor, copies: int) -> Tensor:
    """(copies, …) zeros, each strided as ``like`` is."""
    strides = (max(1, like.numel()), *like.stride())
    shape = (copies, *like.shape)
    return torch.empty_strided(shape, strides, dtype=like.dtype, device=like.device).zero_()


def _random_state(device: torch.device) -> Tensor:
    """Of the generator that kernels on the device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
