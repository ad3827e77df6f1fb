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

import torch

from bench.federation.engine import Federation
from bench.federation.strategies import TABLE, Closing, Strategy
from bench.suites.scenario import Choice
from bench.verify.federations import IMAGES, ROUNDS, Bench, difference, trained

POLICIES = ("average", "local", "frozen", "recalibrate", "groupnorm")


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


def equal_clients(**fields: Any) -> Callable[[Bench], float]:
    """A check that FedAvg with those keys is FedAvg where all clients have as many images."""
    sizes = (7, 7, 7, 7)

    def check(bench: Bench) -> float:
        return _same(bench.federation(sizes=sizes), bench.federation(sizes=sizes, **fields))

    return check


def with_keys(*alternatives: dict[str, Any]) -> Callable[[Bench], float]:
    """A check that FedAvg with any of those keys is FedAvg."""

    def check(bench: Bench) -> float:
        return max(_same(bench.federation(), bench.federation(**keys)) for keys in alternatives)

    return check


def alone_it_is_fedavg(name: str) -> Callable[[Bench], float]:
    """A check that with a single client what stays with it makes no difference."""

    def check(bench: Bench) -> float:
        pool = (IMAGES,)
        other = bench.federation(name, sizes=pool)
        return _same(bench.federation(sizes=pool), other)

    return check


def any_order(bench: Bench) -> float:
    """Four clients in three orders, under every strategy that has a server."""
    worst = 0.0
    for name, row in TABLE.items():
        if row.setting != "federated":
            continue
        ends = []
        for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
            federation = usable(bench, name, "average")
            for number in (1, 2):
                federation.round(number, clients=order)
            ends.append(federation.export())
        worst = max(worst, *(difference(ends[0], end) for end in ends[1:]))
    return worst


def usable(bench: Bench, name: str, buffers: str) -> Federation:
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
            federation = usable(bench, name, buffers)
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


EVERYTHING = ({"share": 1.0, "error_feedback": True}, {"share": 1.0, "error_feedback": False})
"""Top-k that leaves nothing out, with and without error feedback."""

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
        name="Poisson sampling (C = 1) and sampling by size (C = 1) = FedAvg",
        measure=with_keys({"sampling": "poisson"}, {"sampling": "size"}),
        exact=True,
    ),
    Check(
        name="dropout and stragglers (shares that nobody is in) = FedAvg",
        measure=with_keys(
            {"dropout": 1e-12},
            {"stragglers": Choice("partial", (("share", 0.1),))},
            {"stragglers": Choice("dropped", (("share", 0.1),))},
        ),
        exact=True,
    ),
    Check(
        name="local steps (those of two epochs, equal sizes) = FedAvg of two epochs",
        measure=equal_clients(local_steps=4),
        exact=True,
    ),
    Check(
        name="uniform weights (equal sizes) = FedAvg",
        measure=equal_clients(weights="uniform"),
        exact=True,
    ),
    Check(
        name="weights by steps (equal sizes) = FedAvg",
        measure=equal_clients(weights="steps"),
        exact=True,
    ),
    Check(
        name="top-k compression (share 1) = FedAvg",
        measure=with_keys(
            *({"compression": Choice("topk", tuple(sorted(e.items())))} for e in EVERYTHING)
        ),
        exact=True,
    ),
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
