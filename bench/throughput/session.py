"""The measurement: ceilings, then every row in turns, then the ceilings again.

Repetitions are interleaved, so that what else the machine does meanwhile falls on all rows alike.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench.environment import machine, versions
from bench.errors import ScenarioFailed, first_line
from bench.throughput.ceilings import Ceilings, ceilings
from bench.throughput.counting import Counts
from bench.throughput.memory import PeakMemory, available_bytes
from bench.throughput.record import session_record
from bench.throughput.request import Request, Setting
from bench.throughput.row import Network, Row
from bench.throughput.workbench import Rounds, Workbench
from bench.training.device import at_most_threads, device_name, prepare, resolve_device

REPETITIONS, FEWEST_REPETITIONS = 5, 3
"""Of each figure; the fewer where a single step takes a third of the time."""
SHORT_STEPS = 50
"""Steps of a short network that are timed to know how many fill a repetition."""
FEW_IMAGES = 32
"""Scored to know how many fill a repetition."""
PATIENCE = 10.0
"""A federated round that would take more than this many times ``--seconds`` is left out."""
Progress = Callable[[str, int, int], None]
"""Called with (what, done, in all)."""


def measure(request: Request, device_asked: str, progress: Progress) -> dict[str, Any]:
    """The session's record (see :mod:`bench.throughput.record`).

    Raises UsageError where a device or network does not exist or cannot take the image size. A row
    that does not fit in memory says so in its ``remark``.
    """
    device = resolve_device(device_asked)
    threads = prepare(device)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    session = _Session(request, device, threads, progress)
    rows = session.run()
    return session_record(
        machine=machine(device_name(device)),
        versions=versions(),
        device=device.type,
        threads=threads,
        load=load,
        request=request,
        ceilings=session.ceilings,
        rows=[row.record(session.ceilings) for row in rows],
    )


class _Session:
    def __init__(
        self, request: Request, device: torch.device, threads: int, progress: Progress
    ) -> None:
        self._request = request
        self._device = device
        self._several_threads = device.type == "cpu" and threads > 1
        self._progress = progress
        self._networks: dict[tuple[str, int, str, str], Network] = {}
        self._counts: dict[tuple[str, int, str], tuple[Counts, Counts]] = {}
        self.ceilings: Ceilings

    def run(self) -> list[Row]:
        settings = self._request.settings(self._device.type)
        rows = []
        for number, setting in enumerate(settings):
            self._progress("networks", number, len(settings))
            rows.append(Row(setting=setting, network=self._network(setting)))
        self._progress("networks", len(settings), len(settings))
        rows = _without_twins(rows)
        precisions = [network.bench.precision for network in self._networks.values()]
        self.ceilings = ceilings(self._device, precisions)
        for number, row in enumerate(rows):
            self._progress("warming up", number, len(rows))
            with _surviving(row.fail):
                self._warm_up(row)
        self._progress("warming up", len(rows), len(rows))
        with tempfile.TemporaryDirectory(prefix="bench-throughput-") as folder:
            self._repeat(rows, Path(folder))
        self.ceilings = self.ceilings.joined(ceilings(self._device, precisions))
        return rows

    def _network(self, setting: Setting) -> Network:
        """Each way to execute a step has a network of its own; what it does is the same."""
        alike = (setting.backbone, setting.image_size, setting.precision)
        key = (*alike, setting.step)
        if key not in self._networks:
            bench = Workbench(*alike, self._device, setting.step)
            if alike not in self._counts:
                self._counts[alike] = bench.count_training(), bench.count_inference()
            training, inference = self._counts[alike]
            self._networks[key] = Network(bench=bench, training=training, inference=inference)
        return self._networks[key]

    def _warm_up(self, row: Row) -> None:
        """The first steps, which are not counted: kernels are chosen, memory is found."""
        bench, batch = row.network.bench, row.setting.batch
        self._refuse_what_cannot_fit(row)
        peak = PeakMemory(self._device)
        peak.start(bench.own_bytes)
        bench.train(batch, 1)
        seconds = min(bench.train(batch, 1) for _ in "ab")
        row.peak_memory, row.peak_memory_kind = peak.bytes(), peak.kind
        if self._several_threads:
            with at_most_threads(1):
                bench.train(batch, 1)
        row.execution = bench.execution
        each = self._request.seconds / REPETITIONS
        if steps := min(SHORT_STEPS, int(each / seconds)):
            seconds = bench.train(batch, steps) / steps  # less of what a call costs in itself
        row.step_seconds = seconds
        row.steps = max(1, round(each / seconds))
        if not row.network.inference_images:
            row.network.inference_images = self._inference_images(bench)

    def _inference_images(self, bench: Workbench) -> int:
        """So many as fill a repetition: whole evaluation batches, unless one is too much already.

        Asked twice, because a few images take longer each than many.
        """
        images = min(FEW_IMAGES, bench.evaluation_batch)
        bench.infer(images)
        for _ in "ab":
            wanted = int(images * self._request.seconds / REPETITIONS / bench.infer(images))
            whole = wanted // bench.evaluation_batch * bench.evaluation_batch
            images = max(1, whole or wanted)
        return images

    def _refuse_what_cannot_fit(self, row: Row) -> None:
        """A CPU's memory is promised before it is there, and who takes it is killed unasked."""
        if self._device.type != "cpu":
            return
        needed = row.network.training.live.at(row.setting.batch)
        free = available_bytes(self._device)
        if needed > free:
            raise MemoryError(
                f"a step needs {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
            )

    def _repeat(self, rows: list[Row], folder: Path) -> None:
        federations: dict[Path, Rounds] = {}
        for repetition in range(REPETITIONS):
            for number, row in enumerate(rows):
                done = repetition * len(rows) + number
                self._progress("measuring", done, REPETITIONS * len(rows))
                if row.failed:
                    continue
                with _surviving(row.fail):
                    self._once(row, repetition)
                if self._request.clients and not row.failed and not row.remark:
                    with _surviving(row.fail_rounds):
                        self._round(row, federations, folder / str(number))
        self._progress("measuring", REPETITIONS * len(rows), REPETITIONS * len(rows))
        for row in rows:
            if self._request.clients and not (row.rounds or row.remark):
                needed = 2 * self._request.clients * row.step_seconds * FEWEST_REPETITIONS
                row.fail_rounds(f"it would take {needed:.0f} s; raise --seconds")

    def _once(self, row: Row, repetition: int) -> None:
        network = row.network
        if self._wanted(repetition, row.step_seconds * row.steps):
            seconds = network.bench.train(row.setting.batch, row.steps)
            row.training_seconds.append(seconds)
            if self._several_threads:
                with at_most_threads(1):
                    row.one_thread_seconds.append(network.bench.train(row.setting.batch, row.steps))
            row.step_seconds = min(row.step_seconds, seconds / row.steps)
        if len(network.inference_seconds) <= repetition:
            network.inference_seconds.append(network.bench.infer(network.inference_images))

    def _round(self, row: Row, federations: dict[Path, Rounds], folder: Path) -> None:
        """A pair of rounds, unless the row's steps are, so far as is known, too slow for it."""
        clients = self._request.clients
        pair = 2 * clients * row.step_seconds
        too_long = FEWEST_REPETITIONS * pair > PATIENCE * self._request.seconds
        if too_long or not self._wanted(len(row.rounds), pair):
            return
        if folder not in federations:
            steps = max(1, int(self._request.seconds / REPETITIONS / pair))
            row.client_images = steps * row.setting.batch
            federations[folder] = row.network.bench.rounds(
                row.setting.batch, clients, steps, folder
            )
            federations[folder].next()  # the first round allocates
        row.rounds.append(federations[folder].next())

    def _wanted(self, repetition: int, seconds: float) -> bool:
        """Whether there is time for that repetition of something that takes so long."""
        most = max(FEWEST_REPETITIONS, int(self._request.seconds / seconds))
        return repetition < most


@contextmanager
def _surviving(fail: Callable[[str], None]) -> Iterator[None]:
    """Work that runs out of memory, or cannot train on its batch, leaves the reason instead."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        fail(f"out of memory: {first_line(error)}")
    except ScenarioFailed as error:
        fail(f"{error.what}: {error.found}")
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # what torch's CPU allocator says
            raise
        fail(f"out of memory: {first_line(error)}")
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _without_twins(rows: list[Row]) -> list[Row]:
    """``auto`` beside the precision or step that it comes to would be measured twice."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        setting = row.setting
        bench = row.network.bench
        names = (bench.precision.name, bench.execution.name)
        kept.setdefault((setting.backbone, setting.image_size, setting.batch, *names), row)
    return list(kept.values())
