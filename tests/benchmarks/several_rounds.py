"""Rounds of the peers' workloads by this engine, with and without clients trained at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.suites.catalog import OPTIMIZERS
from bench.suites.scenario import Scenario
from bench.training.device import prepare, resolve_device, resolve_precision
from bench.training.execution import execution_named
from bench.training.several import ahead_for
from bench.training.tasks import task_for
from bench.training.trainer import Trainer
from tests.benchmarks.peers.workload import (
    CLIENTS,
    LEARNING_RATE,
    SELECTED,
    SIDE,
    WORKLOADS,
    data,
    rows,
)


class Rounds:
    """One federation, round by round."""

    def __init__(self, workload: str, device: torch.device, folder: Path, *, several: bool) -> None:
        given = WORKLOADS[workload]
        images, labels = data(given)
        scenario = Scenario(
            dataset="mnist",
            backbone=given.network,
            image_size=SIDE,
            clients=CLIENTS,
            fraction=SELECTED / CLIENTS,
            batch_size=given.batch,
            optimizer=OPTIMIZERS.read({"name": "sgd", "lr": LEARNING_RATE}),
        )
        task = task_for(scenario)
        network = build(given.network, outputs=task.outputs, image_size=SIDE, seed=0)
        flat = FlatModel(network, device)
        precision = resolve_precision("auto", device, given.network)
        execution = execution_named("auto", device)
        ahead = ahead_for(flat, task, scenario.optimizer, precision.autocast, execution)
        self._trainer = Trainer(
            scenario,
            flat,
            task,
            images,
            task.targets(labels.astype(np.float32), 0),
            device,
            precision,
            execution,
            ahead if several else None,
        )
        everyone = np.arange(len(images))
        shares = [everyone[rows(given, client)] for client in range(CLIENTS)]
        self._federation = Federation(scenario, self._trainer, shares, ClientStore(folder))
        self._number = 0

    @property
    def reason(self) -> str:
        """How steps are executed, and why."""
        return self._trainer.execution.reason

    def next(self) -> float:
        """Seconds of the next round, the device's work included."""
        self._number += 1
        started = time.perf_counter()
        self._federation.round(self._number)  # looks at the new global model in the end
        return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Both:
    """The same federation twice."""

    chosen: Rounds
    """As the engine has it."""
    alone: Rounds
    """One client after another."""


def rounds_of(workload: str, device: str, folder: Path) -> Both:
    """The two federations of that workload, before their first round."""
    place = resolve_device(device)
    prepare(place)
    ways = (Rounds(workload, place, folder / str(i), several=i == 0) for i in range(2))
    return Both(*ways)
