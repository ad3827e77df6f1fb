"""The bar: what a round costs beyond its local steps, for 2NN with ten clients, is at most 2 ms."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.federation.exact_sum import ExactSum
from bench.models.flat import FlatModel
from bench.models.mcmahan import PARAMETERS, network
from bench.suites.scenario import Choice, Scenario
from bench.training.trainer import LocalResult
from bench.verify.federations import defaults

MOST_SECONDS = 0.002
CLIENTS, ROUND = 100, 10


class NoWork:
    """A trainer whose local steps cost nothing."""

    optimizer = None

    def __init__(self, module: nn.Module) -> None:
        self.flat = FlatModel(module, "cpu")

    def train(self, rows, **_) -> LocalResult:
        return LocalResult(examples=len(rows), steps=1, loss=1.0, seconds=1.0, optimizer_state={})

    def recalibrate(self, rows, batch_size=64) -> None:
        """Nothing to do."""


def federation(folder, strategy: str) -> Federation:
    scenario = Scenario(
        strategy=Choice(strategy, tuple(sorted(defaults(strategy).items()))),
        optimizer=Choice("sgd", (("lr", 0.1), ("momentum", 0.0))),
        clients=CLIENTS,
        fraction=ROUND / CLIENTS,
    )
    rows = np.split(np.arange(CLIENTS * 600), CLIENTS)
    return Federation(scenario, NoWork(network("2nn", 10)), rows, ClientStore(folder))


@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "scaffold"])
def test_round_without_local_steps(benchmark, tmp_path, strategy):
    made = federation(tmp_path, strategy)
    assert made.parameters.numel() == PARAMETERS["2nn"]
    numbers = iter(range(1, 10**6))
    benchmark.pedantic(lambda: made.round(next(numbers)), rounds=100, warmup_rounds=5)
    if strategy == "fedavg":
        assert benchmark.stats["median"] <= MOST_SECONDS


def test_exact_sum(benchmark):
    size = PARAMETERS["2nn"]
    running = ExactSum(size, "cpu")
    vector = FlatModel(network("2nn", 10), "cpu").parameters_flat
    benchmark(running.add, vector, 0.1)
