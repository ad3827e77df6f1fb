"""This project's engine, from its own data structures: ``Trainer`` and ``Federation``.

torch is imported as ``bench run`` imports it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from workload import CLIENTS, LEARNING_RATE, SELECTED, SIDE, Clock, asked, data, rows

from bench.garbage import uncollected
from bench.suites.catalog import OPTIMIZERS
from bench.suites.scenario import Scenario

with uncollected():
    import torch

    from bench.federation.clients import ClientStore
    from bench.federation.engine import Federation
    from bench.models.backbone import build
    from bench.models.flat import FlatModel
    from bench.training.device import prepare, resolve_precision
    from bench.training.tasks import task_for
    from bench.training.trainer import Trainer


def main() -> None:
    workload, rounds = asked()
    clock = Clock()
    device = torch.device("cpu")
    prepare(device)
    images, labels = data(workload)
    scenario = Scenario(
        dataset="mnist",
        backbone=workload.network,
        image_size=SIDE,
        clients=CLIENTS,
        fraction=SELECTED / CLIENTS,
        batch_size=workload.batch,
        optimizer=OPTIMIZERS.read({"name": "sgd", "lr": LEARNING_RATE}),
    )
    task = task_for(scenario)
    network = build(workload.network, outputs=task.outputs, image_size=SIDE, seed=0)
    precision = resolve_precision("auto", device, workload.network)
    targets = task.targets(labels.astype(np.float32), 0)
    flat = FlatModel(network, device)
    trainer = Trainer(scenario, flat, task, images, targets, device, precision)
    everyone = np.arange(len(images))
    shares = [everyone[rows(workload, client)] for client in range(CLIENTS)]
    with tempfile.TemporaryDirectory() as folder:
        federation = Federation(scenario, trainer, shares, ClientStore(Path(folder)))
        for number in range(1, rounds + 1):
            federation.round(number)
            clock.lap()
    clock.report()


main()
