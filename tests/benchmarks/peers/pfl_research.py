"""pfl-research's simulation in one process, evaluation off."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from networks import network
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data import FederatedDataset
from pfl.data.dataset import Dataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn
from workload import CLIENTS, LEARNING_RATE, SELECTED, Clock, asked, data, rows


class Network(nn.Module):
    """The network with the methods pfl asks for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.inner = network(name)

    def loss(self, images: Any, targets: Any, is_eval: bool = False) -> torch.Tensor:
        return F.cross_entropy(self.inner(images), targets)

    @torch.no_grad()
    def metrics(self, images: Any, targets: Any, is_eval: bool = True) -> dict[str, Any]:
        loss = F.cross_entropy(self.inner(images), targets, reduction="sum")
        return {"loss": Weighted(loss.item(), len(images))}


class Laps(TrainingProcessCallback):
    """Notes when a round ends."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def after_central_iteration(self, *_: Any, **__: Any) -> tuple[bool, Metrics]:
        self._clock.lap()
        return False, Metrics()


def main() -> None:
    workload, rounds = asked()
    clock = Clock()
    pixels, labels = data(workload)
    images = torch.from_numpy(pixels).unsqueeze(1).float().div_(255)
    targets = torch.from_numpy(labels)

    def user(number: int) -> Dataset:
        place = rows(workload, number)
        return Dataset((images[place], targets[place]), user_id=str(number))

    np.random.seed(0)  # noqa: NPY002 - what pfl's sampler draws from
    dataset = FederatedDataset(user, get_user_sampler("random", list(range(CLIENTS))))
    module = Network(workload.network)
    model = PyTorchModel(
        model=module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), 1.0),
    )
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=10**9,
            train_cohort_size=SELECTED,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=dataset, val_data=None),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1,
            local_learning_rate=LEARNING_RATE,
            local_batch_size=workload.batch,
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=10_000),
        callbacks=[Laps(clock)],
    )
    clock.report()


main()
