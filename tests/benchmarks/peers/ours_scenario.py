"""The workload as a scenario of this project. Needs no torch."""

from __future__ import annotations

from bench.suites.catalog import OPTIMIZERS
from bench.suites.scenario import Scenario
from tests.benchmarks.peers.workload import CLIENTS, LEARNING_RATE, SELECTED, SIDE, Workload


def scenario_of(workload: Workload, rounds: int = 1) -> Scenario:
    """FedAvg over equal clients, as every peer does it. Who calls the engine round by round takes
    as many as they like, whatever ``rounds`` says."""
    return Scenario(
        dataset="mnist",
        backbone=workload.network,
        image_size=SIDE,
        clients=CLIENTS,
        fraction=SELECTED / CLIENTS,
        rounds=rounds,
        batch_size=workload.batch,
        optimizer=OPTIMIZERS.read({"name": "sgd", "lr": LEARNING_RATE}),
    )
