"""The workload as a federation of this project, from its own data structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.training.ahead import ahead_for
from bench.training.device import resolve_precision
from bench.training.execution import execution_named
from bench.training.tasks import task_for
from bench.training.trainer import Trainer
from tests.benchmarks.peers.ours_scenario import scenario_of
from tests.benchmarks.peers.workload import CLIENTS, SIDE, Workload, data, rows


def federation_of(
    workload: Workload,
    device: torch.device,
    folder: Path,
    *,
    at_once: bool = True,
    least: float = 1.0,
) -> Federation:
    """Before its first round. ``at_once`` lets a GPU train several clients at once; clients have
    from all of their images down to that share of them."""
    images, labels = data(workload)
    scenario = scenario_of(workload)
    task = task_for(scenario)
    network = build(workload.network, outputs=task.outputs, image_size=SIDE, seed=0)
    flat = FlatModel(network, device)
    precision = resolve_precision("auto", device, workload.network)
    execution = execution_named("auto", device)
    ahead = ahead_for(flat, task, scenario.optimizer, precision.autocast, execution)
    trainer = Trainer(
        scenario,
        flat,
        task,
        images,
        task.targets(labels.astype(np.float32), 0),
        device,
        precision,
        execution,
        ahead if at_once else None,
    )
    everyone = np.arange(len(images))
    kept = np.linspace(workload.images, least * workload.images, CLIENTS).round().astype(int)
    shares = [everyone[rows(workload, client)][: kept[client]] for client in range(CLIENTS)]
    return Federation(scenario, trainer, shares, ClientStore(folder))
