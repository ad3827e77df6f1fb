"""Federations small enough that training one takes a fraction of a second.

Nothing is read from disk, so that they can be built on any machine and device.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.federation.strategies import Strategy
from bench.models.flat import FlatModel
from bench.models.normalisation import to_group_norm
from bench.suites.catalog import STRATEGIES
from bench.suites.scenario import Choice, Scenario
from bench.training.device import Precision
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

SIDE, IMAGES = 8, 30
OBSERVATIONS = ("Edema", "Cardiomegaly")
SIZES = (5, 11, 8, 6)
"""Images of each of the four clients."""
ROUNDS = 2
ROUNDING = {"cpu": 2e-6, "cuda": 2e-4}
"""The most that two orders of the same fp32 arithmetic may differ by after two rounds. The model's
numbers are of order one, one unit in the last place is 1.2e-7; a GPU's convolutions add in an order
that changes from run to run."""


class SmallNetwork(nn.Module):
    """Convolution, batch normalisation, ReLU, mean over the map, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, len(OBSERVATIONS))

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) → (n, 2) logits."""
        maps = torch.relu(self.norm(self.convolution(images)))
        return self.classifier(maps.mean((2, 3)))


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the checks build their federations."""

    device: torch.device
    folder: Path

    def federation(
        self,
        name: str = "fedavg",
        *,
        sizes: tuple[int, ...] = SIZES,
        row: Strategy | None = None,
        momentum: float = 0.0,
        parameters: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Federation:
        """A new federation; the strategy's parameters are the catalogue's where not given."""
        settings = defaults(name) | (parameters or {})
        scenario = Scenario(
            observations=OBSERVATIONS,
            label_policy=tuple((o, "u-ones") for o in OBSERVATIONS),
            strategy=Choice(name, tuple(sorted(settings.items()))),
            optimizer=Choice("sgd", (("lr", 0.1), ("momentum", momentum))),
            clients=len(sizes),
            **{"local_epochs": 2, "batch_size": 4, "precision": "fp32", **fields},
        )
        network = _network(group=scenario.buffers == "groupnorm")
        images, labels = _data()
        task = task_for(scenario)
        trainer = Trainer(
            scenario,
            FlatModel(network, self.device),
            task,
            images,
            task.targets(labels, 0),
            self.device,
            Precision("fp32", "exactness is what is measured"),
        )
        rows = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        store = ClientStore(Path(tempfile.mkdtemp(dir=self.folder)))
        return Federation(scenario, trainer, rows, store, strategy=row)

    def rounding(self) -> float:
        """The tolerance for equal arithmetic in another order."""
        return ROUNDING[self.device.type]


def defaults(name: str) -> dict[str, Any]:
    """A strategy's parameters as the catalogue declares them."""
    return dict(STRATEGIES.read(name).parameters)


def _network(*, group: bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SmallNetwork()
    if group:
        to_group_norm(network)
    return network


def _data() -> tuple[np.ndarray, np.ndarray]:
    """(n, h, w) uint8 noise that is brighter where the first label is positive, and the labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (IMAGES, len(OBSERVATIONS))).astype(np.float32)
    noise = rng.integers(0, 200, (IMAGES, SIDE, SIDE))
    return (noise + 50 * labels[:, :1, None]).astype(np.uint8), labels


def trained(federation: Federation, rounds: int = ROUNDS) -> dict[str, Tensor]:
    """The tensors of the global model after so many rounds."""
    for number in range(1, rounds + 1):
        federation.round(number)
    return federation.export()


def difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest absolute difference; NaN where either has one."""
    assert a.keys() == b.keys()
    largest = [float((a[name].double() - b[name].double()).abs().max()) for name in a]
    return math.nan if any(map(math.isnan, largest)) else max(largest)
