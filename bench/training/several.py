"""Clients trained at once, on a GPU that the steps of one do not fill.

A step of a small network on ten images is a dozen kernels of a few microseconds: the GPU waits for
each to be started, and most of it has nothing to do. Here one CUDA graph holds the steps of several
clients as branches that do not wait for each other, each with parameters, gradients and images of
its own; one update over all their vectors follows. Every client takes the steps that it would take
by itself, with the same kernels.

Whether that is faster depends on the network, the batch and the GPU, so it is found out: clients
are trained at once and one after another by turns until each has been timed, and then the faster
way.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import first_line
from bench.models.flat import FlatModel
from bench.suites.choice import Choice
from bench.training.execution import Execution
from bench.training.graphs import BatchGraph, Capture, CudaCapture, choosing_kernels, undisturbed
from bench.training.images import batch_bounds, passes
from bench.training.optimizers import optimizer_for, reset
from bench.training.step import AutogradStep, copy_together
from bench.training.tasks import Task

MOST_AT_ONCE = 16
"""Clients in one graph."""
MOST_PARAMETERS = 2**23
"""Of a network whose clients are trained at once: larger ones fill a GPU, and are kept once."""
MOST_SIZES = 16
"""Batch sizes that there is a graph for; clients with others are trained one after another."""
TRIES = 3
"""Timings of each way before one is chosen, after a first that is not counted."""

Batches = Iterator[tuple[Tensor, Tensor]]
"""(b, 1, h, w) inputs and targets, step by step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A client's training, as :meth:`bench.training.trainer.Trainer.train` is asked for it."""

    rows: NDArray[np.int64]
    """(n_k,) of the training images."""
    epochs: int
    steps: int | None
    batch_size: int | None
    seed_address: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int | None, int | None]:
        """What those that are trained at once have in common: their batches are then as large."""
        return len(self.rows), self.epochs, self.steps, self.batch_size

    @property
    def sizes(self) -> set[int]:
        """Of its batches."""
        bounds = batch_bounds(len(self.rows), self.batch_size)
        most = max(passes(len(bounds), epochs=self.epochs, steps=self.steps), default=0)
        return {stop - start for start, stop in bounds[:most]}


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


class Race:
    """Which of two ways is faster, found by taking turns; the first way begins."""

    def __init__(self) -> None:
        self._seconds: tuple[list[float], list[float]] = ([], [])

    @property
    def turn(self) -> int:
        """Which way is to be taken next, 0 or 1; in the end always the same."""
        first, second = self._seconds
        if self.ratio is not None:
            return int(self.ratio >= 1)
        return int(len(first) > len(second))

    @property
    def ratio(self) -> float | None:
        """The first way's seconds ÷ the second's, once both are known."""
        first, second = (kept[1:] for kept in self._seconds)
        return median(first) / median(second) if len(first) == len(second) == TRIES else None

    def tell(self, way: int, seconds: float) -> None:
        """How long that way took."""
        if len(self._seconds[way]) <= TRIES:
            self._seconds[way].append(seconds)


class Ahead:
    """Trainings that were announced, and are done before they are asked for where that is faster.

    ``make`` gives the copies of the network, for so many clients.
    """

    def __init__(self, make: Callable[[int], Several]) -> None:
        self._make = make
        self._several: Several | None = None
        self._race = Race()
        self._against: str | None = None
        """Why clients are not trained at once, where they cannot be."""
        self._expected: dict[tuple[int, int, int], Job] = {}
        self._done: dict[tuple[int, int, int], Trained] = {}
        self._start: Tensor | None = None

    @property
    def says(self) -> str | None:
        """What came of it, for people; None where it never came to it."""
        if self._against is not None:
            return f"not several clients at once: {self._against}"
        if self._several is None or self._race.ratio is None:
            return None
        verdict = "one after another" if self._race.turn else "at once"
        return (
            f"clients {verdict}: {self._several.copies} at once take {self._race.ratio:.2f} of the "
            "time of one after another"
        )

    def expect(self, jobs: Iterable[Job], start: Tensor) -> None:
        """Announces trainings in the order in which they will be asked for, all from (P,)
        ``start``, which stays as it is until the last was asked for."""
        self._done.clear()
        self._expected = {job.seed_address: job for job in jobs}
        self._start = start

    def get(self, job: Job, batches: Callable[[Job], Batches]) -> Trained | None:
        """The training, if it was announced and is done; None: it is to be done alone."""
        done = self._done.pop(job.seed_address, None)
        if done is not None:
            return done
        announced = self._expected.pop(job.seed_address, None)
        if announced is None or announced.rows is not job.rows or announced.shape != job.shape:
            return None
        if self._against is not None or self._done or self._race.turn:
            return None
        alike = [other for other in self._expected.values() if other.shape == job.shape]
        if not alike:
            return None
        return self._train(job, alike, batches)

    def alone(self, job: Job, seconds: float) -> None:
        """How long a training took that was done by itself."""
        if self._race.turn and self._race.ratio is None and len(job.rows):
            self._race.tell(1, seconds / len(job.rows))

    def _train(
        self, job: Job, alike: Sequence[Job], batches: Callable[[Job], Batches]
    ) -> Trained | None:
        """Trains the job and as many of those like it as there are copies for."""
        try:
            if self._several is None:
                self._several = self._make(min(MOST_AT_ONCE, 1 + len(alike)))
            if not self._several.ready >= job.sizes:
                for inputs, targets in batches(job):
                    whole = len(inputs) == job.batch_size
                    self._several.prepare(inputs, targets, whole=whole)
        except Exception as error:  # what an operation raises under capture is up to it
            self._against = first_line(error, named=True)
            self._several = None
            return None
        jobs = [job, *alike[: self._several.copies - 1]]
        assert self._start is not None
        trained = self._several.train(self._start, [batches(one) for one in jobs])
        self._race.tell(0, trained[0].seconds / len(job.rows))
        for one, done in zip(jobs, trained, strict=True):
            self._expected.pop(one.seed_address, None)
            self._done[one.seed_address] = done
        return self._done.pop(job.seed_address)


def ahead_for(
    flat: FlatModel,
    task: Task,
    optimizer: Choice,
    autocast: torch.dtype | None,
    execution: Execution,
) -> Ahead | None:
    """What trains clients of this network at once; None where nothing does: on a CPU, whose cores
    are shared by processes, and for networks that are large, compiled or keep statistics."""
    small = flat.parameters_flat.numel() <= MOST_PARAMETERS and not flat.buffers_flat.numel()
    if not execution.graph or execution.compiled or not small:
        return None

    def make(copies: int) -> Several:
        return Several(
            flat,
            task,
            optimizer,
            autocast,
            copies=copies,
            capture=CudaCapture(flat.device),
            streams=[torch.cuda.Stream(flat.device) for _ in range(copies)],
        )

    return Ahead(make)


def _stacked(like: Tensor, copies: int) -> Tensor:
    """(copies, …) zeros, each strided as ``like`` is."""
    strides = (max(1, like.numel()), *like.stride())
    shape = (copies, *like.shape)
    return torch.empty_strided(shape, strides, dtype=like.dtype, device=like.device).zero_()


def _random_state(device: torch.device) -> Tensor:
    """Of the generator that kernels on the device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
