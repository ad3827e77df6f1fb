"""Equivalences that hold for federated strategies by their definitions, measured.

Each check trains two federations that must end at the same model, on a network small enough for all
of them to take seconds, and gives the largest difference found. Nothing is read from disk, so a
user can run them on any machine and device.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.federation.strategies import TABLE, Closing, Strategy
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
POLICIES = ("average", "local", "frozen", "recalibrate", "groupnorm")
ROUNDING = {"cpu": 2e-6, "cuda": 2e-4}
"""The most that two orders of the same fp32 arithmetic may differ by after two rounds. The model's
numbers are of order one, one unit in the last place is 1.2e-7; a GPU's convolutions add in an order
that changes from run to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One equivalence, measured."""

    name: str
    difference: float
    """The largest absolute difference over parameters and running statistics."""
    tolerance: float
    """0 where every bit must agree."""
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance; NaN never is."""
        return self.difference <= self.tolerance


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
    (variant,) = (v for v in STRATEGIES.variants if v.name == name)
    return {p.name: p.default for p in variant.parameters}


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


def _same(one: Federation, other: Federation, rounds: int = ROUNDS) -> float:
    return difference(trained(one, rounds), trained(other, rounds))


def one_client(bench: Bench) -> float:
    """FedAvg with one client, and plain training on its images, by SGD without momentum."""
    pool = (IMAGES,)
    return _same(
        bench.federation(sizes=pool, fraction=0.0),
        bench.federation("centralized", sizes=pool),
    )


def one_large_batch(bench: Bench) -> float:
    """Batch normalisation sees a client's batch or the pool's, so its statistics are frozen."""
    work: dict[str, Any] = {"buffers": "frozen", "local_epochs": 1, "batch_size": None}
    return _same(
        bench.federation("fedsgd", buffers="frozen"), bench.federation("centralized", **work)
    )


def against_fedavg(
    name: str,
    parameters: dict[str, Any] | None = None,
    *,
    rounds: int = ROUNDS,
    row: Strategy | None = None,
) -> Callable[[Bench], float]:
    """A check that a strategy with those parameters is FedAvg."""

    def check(bench: Bench) -> float:
        fields: dict[str, Any] = {"buffers": "frozen"} if TABLE[name].private else {}
        other = bench.federation(name, parameters=parameters, row=row, **fields)
        return _same(bench.federation(**fields), other, rounds)

    return check


def equal_sizes(name: str, parameters: dict[str, Any] | None = None) -> Callable[[Bench], float]:
    """A check that a strategy is FedAvg where all clients have as many images and steps."""
    sizes = (7, 7, 7, 7)

    def check(bench: Bench) -> float:
        other = bench.federation(name, sizes=sizes, parameters=parameters, momentum=0.5)
        return _same(bench.federation(sizes=sizes, momentum=0.5), other)

    return check


def alone_it_is_fedavg(name: str) -> Callable[[Bench], float]:
    """A check that with a single client what stays with it makes no difference."""

    def check(bench: Bench) -> float:
        pool = (IMAGES,)
        other = bench.federation(name, sizes=pool)
        return _same(bench.federation(sizes=pool), other)

    return check


def any_order(bench: Bench) -> float:
    """Four clients in four orders, under every strategy that has a server."""
    worst = 0.0
    for name, row in TABLE.items():
        if row.setting != "federated":
            continue
        ends = []
        for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
            federation = _usable(bench, name, "average")
            for number in (1, 2):
                federation.round(number, clients=order)
            ends.append(federation.export())
        worst = max(worst, *(difference(ends[0], end) for end in ends[1:]))
    return worst


def _usable(bench: Bench, name: str, buffers: str) -> Federation:
    """A strategy with parameters that four clients allow."""
    parameters = {"byzantine": 0} if name == "krum" else {}
    if TABLE[name].private and buffers in ("average", "recalibrate"):
        buffers = "local"  # statistics without noise are refused
    return bench.federation(name, parameters=parameters, buffers=buffers)


def variances(bench: Bench) -> float:
    """0 where every running variance of every model is positive, under every strategy × buffers;
    otherwise how far the lowest lies below, infinite where one is zero or NaN."""
    lowest = math.inf
    for name in TABLE:
        for buffers in POLICIES:
            federation = _usable(bench, name, buffers)
            for number in range(1, 4):
                federation.round(number)
            for _, load in (*federation.models(), *federation.personal_models()):
                load()
                for key, tensor in federation.trainer.flat.named_tensors().items():
                    if key.endswith("running_var"):
                        value = float(tensor.min())
                        lowest = math.nan if math.isnan(value) else min(lowest, value)
    return 0.0 if lowest > 0.0 else (-lowest or math.inf)


def plain_step(closing: Closing) -> None:
    """A server that takes an SGD step of η = 1 along the mean change."""
    closing.parameters.add_(closing.change(), alpha=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """An equivalence and how it is measured."""

    name: str
    measure: Callable[[Bench], float]
    exact: bool = False
    """Whether every bit must agree: on a CPU, where arithmetic is repeatable."""


CHECKS = (
    Check(name="one client = centralised training", measure=one_client),
    Check(name="FedSGD (all clients) = one large-batch step on the pool", measure=one_large_batch),
    Check(
        name="FedProx (µ = 0) = FedAvg", measure=against_fedavg("fedprox", {"mu": 0.0}), exact=True
    ),
    Check(
        name="FedAvgM (β = 0) = FedAvg",
        measure=against_fedavg("fedavgm", {"beta": 0.0, "server_lr": 1.0}),
    ),
    Check(
        name="FedAdam (its server rule replaced by SGD, η = 1) = FedAvg",
        measure=against_fedavg("fedadam", row=replace(TABLE["fedadam"], server=plain_step)),
    ),
    Check(
        name="SCAFFOLD (option 1, first round) = FedAvg",
        measure=against_fedavg("scaffold", {"option": 1}, rounds=1),
        exact=True,
    ),
    Check(
        name="SCAFFOLD (option 2, first round) = FedAvg",
        measure=against_fedavg("scaffold", {"option": 2}, rounds=1),
        exact=True,
    ),
    Check(name="FedNova (equal steps) = FedAvg", measure=equal_sizes("fednova")),
    Check(name="q-FedAvg (q = 0) = FedAvg", measure=against_fedavg("qfedavg", {"q": 0.0})),
    Check(
        name="Ditto's global model (λ = 0) = FedAvg",
        measure=against_fedavg("ditto", {"lambda": 0.0}),
        exact=True,
    ),
    Check(
        name="DP-FedAvg (no noise, infinite clip) = FedAvg",
        measure=against_fedavg("dpfedavg", {"noise_multiplier": 0.0, "clip": math.inf}),
    ),
    Check(
        name="trimmed mean (β = 0, equal sizes) = FedAvg",
        measure=equal_sizes("trimmed_mean", {"beta": 0.0}),
    ),
    Check(
        name="Krum (all averaged, equal sizes) = FedAvg",
        measure=equal_sizes("krum", {"byzantine": 0, "multi": 4}),
    ),
    Check(name="FedBN (one client) = FedAvg", measure=alone_it_is_fedavg("fedbn"), exact=True),
    Check(name="FedPer (one client) = FedAvg", measure=alone_it_is_fedavg("fedper"), exact=True),
    Check(
        name="clients in any order = in ascending order, every strategy",
        measure=any_order,
        exact=True,
    ),
    Check(
        name="running variances positive, every strategy × buffers", measure=variances, exact=True
    ),
)


def verify(device: torch.device) -> Iterator[Finding]:
    """Every check in turn, on ``device``."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(device, Path(folder))
        for check in CHECKS:
            exact = check.exact and device.type == "cpu"
            yield Finding(
                name=check.name,
                difference=check.measure(bench),
                tolerance=0.0 if exact else bench.rounding(),
            )
