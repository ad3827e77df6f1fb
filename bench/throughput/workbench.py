"""One network on the device, with images that mean nothing, ready to be timed at any batch size.

What is timed is what ``bench run`` calls: :class:`Trainer` and :class:`Federation`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.observations import OBSERVATIONS
from bench.suites.catalog import STRATEGIES
from bench.suites.scenario import Scenario
from bench.throughput.ceilings import synchronize
from bench.throughput.counting import SAMPLES, Counts, count
from bench.training.ahead import ahead_for
from bench.training.device import resolve_precision
from bench.training.execution import Execution, execution_named
from bench.training.step import AutogradStep
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

IMAGES, PIXELS = 256, 2**26
"""At most so many images, and pixels (64 MiB), that batches are drawn from, with repetition."""
FEWEST_IMAGES = max(SAMPLES)
SEED = 0


@dataclass(frozen=True, slots=True)
class RoundTimes:
    """One federated round beside the same images trained centrally; seconds."""

    federated: float
    centralized: float
    engine: float
    """The federated round's time outside of its clients' training."""


class Workbench:
    """A network of 14 outputs with Adam, as CheXpert is trained.

    Raises UsageError where the network does not exist or cannot take images of that size.
    """

    def __init__(
        self,
        backbone: str,
        image_size: int,
        precision: str,
        device: torch.device,
        step: str = "auto",
    ) -> None:
        self._execution = execution_named(step, device)
        self.scenario = Scenario(
            observations=OBSERVATIONS,
            label_policy=tuple((name, "u-ones") for name in OBSERVATIONS),
            backbone=backbone,
            image_size=image_size,
            precision=precision,
            seed=SEED,
        )
        self.device = device
        self.precision = resolve_precision(precision, device, backbone)
        self._images = max(FEWEST_IMAGES, min(IMAGES, PIXELS // image_size**2))
        self._task = task_for(self.scenario)
        before = _allocated(device)
        network = build(backbone, outputs=self._task.outputs, image_size=image_size, seed=SEED)
        self.flat = FlatModel(network, device)
        self.trainer = self._trainer()
        self.own_bytes = _allocated(device) - before
        """Bytes of a GPU's memory that the network, its optimiser and the images take."""
        self.evaluation_batch = self.trainer.prediction_batch
        self._calls = 0

    def _trainer(self) -> Trainer:
        random = np.random.default_rng(SEED)
        side = self.scenario.image_size
        images = random.integers(0, 256, (self._images, side, side), dtype=np.uint8)
        labels = random.integers(0, 2, (self._images, len(OBSERVATIONS))).astype(np.float32)
        targets = self._task.targets(labels, SEED)
        return Trainer(
            self.scenario,
            self.flat,
            self._task,
            images,
            targets,
            self.device,
            self.precision,
            self._execution,
            ahead_for(
                self.flat,
                self._task,
                self.scenario.optimizer,
                self.precision.autocast,
                self._execution,
            ),
        )

    @property
    def execution(self) -> Execution:
        """How the steps that were timed last were executed."""
        return self.trainer.execution

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return self.flat.parameters_flat.numel()

    def count_training(self) -> Counts:
        """What a training step costs, the optimiser's update included."""
        step = AutogradStep(self.flat, self._task, self.trainer.optimizer, self.precision.autocast)
        targets = self.trainer.targets

        def work(batch: int) -> None:
            step(self._inputs(batch), targets[:batch])

        self.flat.module.train()
        return count(work)

    def count_inference(self) -> Counts:
        """What a forward pass without gradients costs."""
        step = AutogradStep(self.flat, self._task, self.trainer.optimizer, self.precision.autocast)

        def work(batch: int) -> None:
            with torch.no_grad():
                step.forward(self._inputs(batch))

        self.flat.module.eval()
        counts = count(work)
        self.flat.module.train()
        return counts

    def _inputs(self, batch: int) -> Tensor:
        side = self.scenario.image_size
        return torch.zeros(batch, side, side, 1, device=self.device).permute(0, 3, 1, 2)

    def train(self, batch: int, steps: int) -> float:
        """Seconds of so many steps, the device's work included."""
        rows = self._rows(batch * steps)
        self._calls += 1
        started = time.perf_counter()
        self.trainer.train(rows, epochs=1, batch_size=batch, seed_address=(SEED, self._calls, 0))
        return time.perf_counter() - started

    def infer(self, images: int) -> float:
        """Seconds of scoring so many images, in batches as ``bench run`` makes them."""
        rows = self._rows(images)
        started = time.perf_counter()
        self.trainer.predict_rows(rows)
        return time.perf_counter() - started

    def rounds(self, batch: int, clients: int, steps: int, folder: Path) -> Rounds:
        """A federation of clients with ``batch · steps`` images each, and its central twin."""
        return Rounds(self, batch, self._shares(batch * steps, clients), folder)

    def _rows(self, images: int) -> NDArray[np.int64]:
        return np.arange(images, dtype=np.int64) % self._images

    def _shares(self, images: int, clients: int) -> list[NDArray[np.int64]]:
        return np.split(self._rows(images * clients), clients)


class Rounds:
    """FedAvg and centralised training of the same images by the same trainer, in turns."""

    def __init__(
        self, bench: Workbench, batch: int, shares: list[NDArray[np.int64]], folder: Path
    ) -> None:
        self._device = bench.device
        self._number = 0
        self._federated, self._centralized = (
            Federation(
                replace(
                    bench.scenario,
                    strategy=STRATEGIES.read(name),
                    clients=len(shares),
                    batch_size=batch,
                ),
                bench.trainer,
                shares,
                ClientStore(folder / name),
            )
            for name in ("fedavg", "centralized")
        )

    def next(self) -> RoundTimes:
        """The next round of each; which goes first changes every time."""
        self._number += 1
        if self._number % 2:
            federated, engine = self._time(self._federated)
            centralized, _ = self._time(self._centralized)
        else:
            centralized, _ = self._time(self._centralized)
            federated, engine = self._time(self._federated)
        return RoundTimes(federated, centralized, engine)

    def _time(self, federation: Federation) -> tuple[float, float]:
        """Seconds of a round, and those outside of training."""
        started = time.perf_counter()
        result = federation.round(self._number)
        synchronize(self._device)
        seconds = time.perf_counter() - started
        return seconds, seconds - result.seconds


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
