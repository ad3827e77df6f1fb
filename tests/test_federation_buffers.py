"""Running statistics under each choice, by hand.

Client 0 has three rows and finds a mean of 1 and a variance of 2; client 1 has one row and finds 5
and 6. Weighted by ¾ and ¼: 2 and 3. A network starts with 0 and 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from bench.errors import NonFiniteError
from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.models.flat import FlatModel
from bench.suites.scenario import Choice, Scenario
from bench.training.trainer import LocalResult
from bench.verify.federations import defaults

FOUND = {0: (1.0, 2.0, 7), 1: (5.0, 6.0, 4)}
"""Mean, variance and batches of each client, by its first row."""


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)


class Recorder:
    """Training notes the statistics it starts with and leaves the client's own."""

    def __init__(self) -> None:
        self.flat = FlatModel(Norm(), "cpu")
        self.optimizer = self.ahead = None
        self.starts: list[list[float]] = []
        self.recalibrated: list[tuple[int, list[float]]] = []

    def train(self, rows, **_) -> LocalResult:
        self.starts.append(self.flat.buffers_flat.tolist())
        self._leave(rows, 1.0)
        self.flat.parameters_flat.add_(1.0)
        return LocalResult(examples=len(rows), steps=1, loss=0.0, seconds=1.0, optimizer_state={})

    def _leave(self, rows, scale: float) -> None:
        mean, variance, batches = FOUND[0 if rows[0] == 0 else 1]
        self.flat.buffers_flat.copy_(torch.tensor([mean * scale, variance * scale]))
        self.flat.counters_flat.add_(batches)

    def recalibrate(self, rows, batch_size=64) -> None:
        self.recalibrated.append((int(rows[0]), self.flat.parameters_flat.tolist()))
        self._leave(rows, 10.0)


def federation(folder: Path, buffers: str, **fields: Any) -> Federation:
    scenario = Scenario(
        clients=2, buffers=buffers, optimizer=Choice("sgd", (("lr", 0.1),)), batch_size=4, **fields
    )
    rows = [np.array([0, 1, 2]), np.array([3])]
    return Federation(scenario, Recorder(), rows, ClientStore(folder))


def statistics(made: Federation) -> list[float]:
    made.load_global()
    flat = made.trainer.flat
    return [*flat.buffers_flat.tolist(), *flat.counters_flat.tolist()]


def test_average(tmp_path):
    made = federation(tmp_path, "average")
    result = made.round(1)
    assert statistics(made) == [2.0, 3.0, 7], "the counter is the largest"
    made.round(2)
    assert made.trainer.starts == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert result.bytes_up == result.bytes_down == 2 * 4 * (2 + 2), "weight, bias, mean, variance"
    assert list(made.personal_models()) == []


def test_local(tmp_path):
    made = federation(tmp_path, "local")
    result = made.round(1)
    made.round(2)
    assert made.trainer.starts == [[0, 1], [0, 1], [1, 2], [5, 6]], "each goes on with its own"
    assert statistics(made) == [2.0, 3.0, 14], "the mean is there to be scored by"
    assert result.bytes_up == result.bytes_down == 2 * 4 * 2
    found = []
    for _, load_model in made.personal_models():
        load_model()
        flat = made.trainer.flat
        found.append([*flat.buffers_flat.tolist(), *flat.counters_flat.tolist()])
    assert found == [[1, 2, 14], [5, 6, 8]]


def test_local_statistics_under_privacy_are_in_no_mean(tmp_path):
    """What is published beside an ε must not hold what clients kept to themselves."""
    strategy = Choice("dpfedavg", tuple(sorted(defaults("dpfedavg").items())))
    made = federation(tmp_path, "local", strategy=strategy)
    made.round(1)
    assert statistics(made) == [0.0, 1.0, 0]
    assert made.export()["norm.running_mean"].tolist() == [0.0]
    found = []
    for _, load_model in made.personal_models():
        load_model()
        found.append(made.trainer.flat.buffers_flat.tolist())
    assert found == [[1, 2], [5, 6]], "each still goes on with its own"


def test_local_statistics_wait_for_their_client(tmp_path):
    made = federation(tmp_path, "local")
    made.round(1, clients=[0])
    made.round(2, clients=[1])
    assert made.trainer.starts == [[0, 1], [0, 1]], "client 1 was sent none of client 0's"


def test_frozen(tmp_path):
    """The trainer does not update frozen statistics; whatever it left, none are taken."""
    made = federation(tmp_path, "frozen")
    result = made.round(1)
    assert statistics(made) == [0.0, 1.0, 0]
    assert result.bytes_up == 2 * 4 * 2


def test_recalibrate(tmp_path):
    made = federation(tmp_path, "recalibrate")
    result = made.round(1)
    assert made.trainer.recalibrated == [(0, [2.0, 1.0]), (3, [2.0, 1.0])], "the new parameters"
    assert statistics(made)[:2] == [20.0, 30.0], "ten times: of the second pass, not of training"
    assert result.bytes_up == 2 * 4 * (2 + 2)
    assert result.bytes_down == 2 * 4 * (2 + 2) + 2 * 4 * 2, "the new parameters are sent as well"


@pytest.mark.parametrize(("buffers", "mean"), [("average", 1e39), ("recalibrate", 1e38)])
def test_statistics_that_cannot_be_summed_name_their_client(tmp_path, monkeypatch, buffers, mean):
    """Whether training left them, or the second pass does, which finds ten times as much."""
    monkeypatch.setitem(FOUND, 1, (mean, 6.0, 4))
    made = federation(tmp_path, buffers)
    with pytest.raises(NonFiniteError, match=r"round 1, client 1: .*\n.*norm.running_mean"):
        made.round(1)


@pytest.mark.parametrize("buffers", ["average", "local", "recalibrate"])
def test_resumes(tmp_path, buffers):
    straight = federation(tmp_path / "a", buffers)
    for number in (1, 2, 3):
        straight.round(number)
    broken = federation(tmp_path / "b", buffers)
    for number in (1, 2):
        broken.round(number)
    saved = save(broken.state())
    broken.commit(2)
    resumed = federation(tmp_path / "b", buffers)
    resumed.load_state(load(saved))
    resumed.round(3)
    assert statistics(resumed) == statistics(straight)
    assert resumed.trainer.starts == straight.trainer.starts[-2:]
