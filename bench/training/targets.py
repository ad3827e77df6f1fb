"""The targets of a federation's images, each made by the label policy of the client that has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.suites.policies import Policies
from bench.training.tasks import UNKNOWN, ObservationTask, Task, in_order


def client_targets(
    task: Task,
    labels: NDArray[np.float32],
    clients: Sequence[NDArray[np.int64]],
    policies: Sequence[Policies],
    *,
    observations: tuple[str, ...],
    seed: int,
    unknown: NDArray[np.bool_] | None = None,
) -> Tensor:
    """What ``task.loss`` takes, row by row.

    Parameters
    ----------
    labels : (n, o) 1, 0, -1 uncertain, NaN blank.
    clients : the rows that each client holds.
    policies : each client's; where they are the task's own the targets are ``task.targets``.
    unknown : (n, o) cells to leave out of the loss whatever the policy.

    A label that is smoothed is drawn at the same address whoever holds it, so that a row's target
    depends on its own client's policy alone.
    """
    targets = task.targets(labels, seed)
    for own in dict.fromkeys(policies):
        if isinstance(task, ObservationTask) and in_order(own, observations) != task.policies:
            made = ObservationTask(in_order(own, observations)).targets(labels, seed)
            for rows, theirs in zip(clients, policies, strict=True):
                if theirs == own:
                    held = torch.from_numpy(rows)
                    targets[held] = made[held]
    if unknown is not None:
        targets[torch.from_numpy(unknown)] = UNKNOWN
    return targets
