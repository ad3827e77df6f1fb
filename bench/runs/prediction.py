"""Scores of many images, their batches shared out among the processes of a team."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from bench.federation.team import Team, together
from bench.training.images import batch_bounds


def predict_together(
    team: Team,
    predict: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    rows: NDArray[np.int64],
    batch: int,
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """(k, o) scores of (k,) ``rows``, in every process; ``shape`` is (k, o).

    Every process scores a run of whole batches of ``batch`` images, cut where one process alone
    would cut them, and what it found travels as it is: the bits are those of one process.
    """
    if team.size == 1:
        return predict(rows)
    scores = torch.zeros(shape)
    bounds = batch_bounds(len(rows), batch)
    first, last = (len(bounds) * end // team.size for end in (team.rank, team.rank + 1))

    def work() -> None:
        if first < last:
            start, stop = bounds[first][0], bounds[last - 1][1]
            scores[start:stop] = torch.from_numpy(predict(rows[start:stop]))

    together(team, work)
    team.add_up([scores.view(torch.int32)])
    return scores.numpy()
