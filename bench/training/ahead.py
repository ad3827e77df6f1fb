"""Trainings that the engine announces, done several at once where that is faster.

Whether it is depends on the network, the batch and the GPU, so it is found out: clients are trained
at once (:mod:`bench.training.several`) and one after another by turns until each has been timed,
and then the faster way. Clients go together that follow each other in what was announced, if they
make as many passes in batches of one size; those who announce the largest first waste least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import first_line
from bench.models.flat import FlatModel
from bench.suites.choice import Choice
from bench.training.execution import Execution
from bench.training.graphs import CudaCapture
from bench.training.images import batch_bounds, passes
from bench.training.several import Batches, Several, Trained
from bench.training.tasks import Task

MOST_AT_ONCE = 16
"""Clients in one graph."""
MOST_PARAMETERS = 2**23
"""Of a network whose clients are trained at once: larger ones fill a GPU, and are kept once."""
TRIES = 3
"""Timings of each way before one is chosen, after a first that is not counted."""
AT_ONCE, ALONE = 0, 1


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
    def kind(self) -> tuple[int, int | None, int | None]:
        """What those that are trained at once have in common, beside batches of one size."""
        return self.epochs, self.steps, self.batch_size

    @property
    def sort_key(self) -> tuple[int, int, int]:
        """By which those of one kind come to stand together, and among them the equally long."""
        return self.epochs, self.steps or 0, len(self.rows)

    @property
    def sizes(self) -> set[int]:
        """Of its batches."""
        bounds = batch_bounds(len(self.rows), self.batch_size)
        most = max(passes(len(bounds), epochs=self.epochs, steps=self.steps), default=0)
        return {stop - start for start, stop in bounds[:most]}


class Race:
    """Whether clients are trained faster at once or alone, found by taking turns; at once begins.

    A way is ``AT_ONCE`` or ``ALONE``.
    """

    def __init__(self) -> None:
        self._seconds: tuple[list[float], list[float]] = ([], [])

    @property
    def turn(self) -> int:
        """The way to be taken next; in the end always the same."""
        at_once, alone = self._seconds
        if self.ratio is not None:
            return AT_ONCE if self.ratio < 1 else ALONE
        return ALONE if len(at_once) > len(alone) else AT_ONCE

    @property
    def ratio(self) -> float | None:
        """The seconds at once ÷ those alone, when both are known."""
        at_once, alone = (kept[1:] for kept in self._seconds)
        return median(at_once) / median(alone) if len(at_once) == len(alone) == TRIES else None

    def tell(self, way: int, seconds: float) -> None:
        """How long that way took, an image."""
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
        verdict = "at once" if self._race.turn == AT_ONCE else "one after another"
        return (
            f"clients {verdict}: {self._several.copies} at once take {self._race.ratio:.2f} of the "
            "time of one after another"
        )

    def expect(self, jobs: Iterable[Job], start: Tensor) -> None:
        """Announces trainings without a hook, in the order in which they will be asked for, best
        the largest first, all from (P,) ``start``, which stays as it is until the last was."""
        self._done.clear()
        self._expected = {job.seed_address: job for job in jobs}
        self._start = start

    def get(self, job: Job, batches: Callable[[Job], Batches]) -> Trained | None:
        """The training, if it was announced and is done; None: it is to be done alone."""
        done = self._done.pop(job.seed_address, None)
        if done is not None:
            return done
        announced = self._expected.pop(job.seed_address, None)
        if announced is None or announced.rows is not job.rows or announced.kind != job.kind:
            return None
        if self._against is not None or self._done or self._race.turn == ALONE:
            return None
        following = takewhile(lambda other: other.kind == job.kind, self._expected.values())
        jobs = [job, *islice(following, MOST_AT_ONCE - 1)]
        return self._train(jobs, batches) if len(jobs) > 1 else None

    def alone(self, examples: int, seconds: float) -> None:
        """How long a training on so many images took that was done by itself."""
        if self._race.turn == ALONE and self._race.ratio is None and examples:
            self._race.tell(ALONE, seconds / examples)

    def _train(self, jobs: list[Job], batches: Callable[[Job], Batches]) -> Trained | None:
        """Trains as many of the jobs as there are copies for, and returns the first; None where
        they have too few batches of one size."""
        try:
            if self._several is None:
                self._several = self._make(len(jobs))
            several = self._several
            jobs = jobs[: several.copies]
            counted = Counter(size for job in jobs for size in job.sizes)
            shared = {size for size, clients in counted.items() if several.enough(clients)}
            if not shared:
                return None
            self._prepare(several, jobs, shared - several.ready, batches)
        except Exception as error:  # what an operation raises under capture is up to it
            self._against = first_line(error, named=True)
            self._several = None
            return None
        assert self._start is not None
        trained = several.train(self._start, [batches(job) for job in jobs])
        passed = sum(done.examples for done in trained)
        self._race.tell(AT_ONCE, sum(done.seconds for done in trained) / passed)
        for job, done in zip(jobs, trained, strict=True):
            self._expected.pop(job.seed_address, None)
            self._done[job.seed_address] = done
        return self._done.pop(jobs[0].seed_address)

    @staticmethod
    def _prepare(
        several: Several, jobs: Sequence[Job], sizes: set[int], batches: Callable[[Job], Batches]
    ) -> None:
        """Has a graph recorded for batches of each of those sizes."""
        for job in jobs:
            if sizes & job.sizes:
                for inputs, targets in batches(job):
                    if len(inputs) in sizes:
                        whole = len(inputs) == job.batch_size
                        several.prepare(inputs, targets, whole=whole)
                sizes = sizes - job.sizes


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
