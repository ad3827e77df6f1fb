"""A network, images and clients small enough for a federation's numbers to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.federation.strategies import Strategy
from bench.federation.team import ALONE, Team
from bench.models.flat import FlatModel
from bench.suites.scenario import Choice, Scenario
from bench.training.trainer import LocalResult


class Point(nn.Module):
    """A model that is nothing but its parameters."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values))


class BodyAndHead(nn.Module):
    """Two numbers, in two layers."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.body = Point(values[:1])
        self.head = Point(values[1:])


@dataclass
class Plain:
    """A learning rate, and nothing kept."""

    lr: float


class QuadraticTrainer:
    """Gradient descent on F(w) = ½‖w - a‖² where ``a`` is the mean of the client's rows.

    Row r stands for the target ``targets[r]``; a step is w ← w - lr·(w - a + what the hook adds).
    An epoch is one step whatever the batch size, or one a row where ``step_a_row``.
    """

    def __init__(
        self,
        scenario: Scenario,
        start: list[float],
        targets: Any,
        *,
        module: type[nn.Module] = Point,
        step_a_row: bool = False,
    ) -> None:
        self.flat = FlatModel(module(start), "cpu")
        self.step_a_row = step_a_row
        self.optimizer = Plain(float(scenario.optimizer["lr"]))
        self.ahead = None
        self.targets = torch.as_tensor(targets, dtype=torch.float32).reshape(-1, len(start))
        self.seed_addresses: list[tuple[int, int, int]] = []

    def train(
        self,
        rows,
        *,
        epochs,
        batch_size,
        seed_address,
        optimizer_state=None,
        hook=None,
        steps=None,
    ) -> LocalResult:
        self.seed_addresses.append(seed_address)
        w, g = self.flat.parameters_flat, self.flat.gradients_flat
        goal = self.targets[torch.from_numpy(rows)].mean(0)
        losses = []
        if steps is None:
            steps = epochs * len(rows) if self.step_a_row else epochs
        for _ in range(steps):
            losses.append(0.5 * float((w - goal).square().sum()))
            g.copy_(w - goal)
            if hook is not None:
                hook(w, g)
            w.sub_(g, alpha=self.optimizer.lr)
        return LocalResult(
            examples=epochs * len(rows),
            steps=steps,
            loss=sum(losses) / len(losses),
            seconds=1.0,
            optimizer_state={},
        )

    def recalibrate(self, rows, batch_size=64) -> None:
        """There is nothing to recalibrate."""


def toy(
    folder: Path,
    name: str = "fedavg",
    *,
    start: list[float] | None = None,
    targets: Any = (0.0, 0.0, 0.0, 4.0),
    clients: Any = ((0, 1, 2), (3,)),
    lr: float = 0.5,
    steps: int = 1,
    fraction: float = 1.0,
    strategy: Strategy | None = None,
    module: type[nn.Module] = Point,
    step_a_row: bool = False,
    fields: dict[str, Any] | None = None,
    team: Team = ALONE,
    **parameters: Any,
) -> Federation:
    """By default two clients: three rows with the target 0, and one with the target 4.

    ``fields`` are further keys of the scenario, ``parameters`` the strategy's own.
    """
    scenario = Scenario(
        strategy=Choice(name, tuple(sorted(parameters.items()))),
        optimizer=Choice("sgd", (("lr", lr), ("momentum", 0.0))),
        clients=len(clients),
        **{"local_epochs": steps, "fraction": fraction, "batch_size": None, **(fields or {})},
    )
    trainer = QuadraticTrainer(
        scenario, start or [2.0], targets, module=module, step_a_row=step_a_row
    )
    rows = [np.asarray(c, dtype=np.int64) for c in clients]
    return Federation(scenario, trainer, rows, ClientStore(folder), strategy=strategy, team=team)


def straight_and_resumed(
    make: Callable[[Path], Federation], folder: Path, *, rounds: int = 5
) -> tuple[Federation, Federation]:
    """One that trained all its rounds, and one that was killed in round 4 and carried on."""
    straight = make(folder / "straight")
    for number in range(1, rounds + 1):
        straight.round(number)
    broken = make(folder / "broken")
    for number in (1, 2, 3):
        broken.round(number)
        saved = save(broken.state())
        broken.commit(number)
    broken.round(4)  # lost: no checkpoint names it
    resumed = make(folder / "broken")
    resumed.load_state(load(saved))
    for number in range(4, rounds + 1):
        resumed.round(number)
    return straight, resumed


def vector(federation: Federation) -> list[float]:
    """The global parameters."""
    return federation.parameters.tolist()


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """The tensors' bytes, to compare bit by bit."""
    return {name: t.cpu().contiguous().numpy().tobytes() for name, t in tensors.items()}
