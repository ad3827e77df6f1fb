"""What a strategy is: a row of functions over flat vectors, called by the round loop.

A round of a federated strategy is

    for every sampled client:   copy the global vector in
                                local(visit)        → the client's parameters, in the model
                                contribute(visit)   → weighted vectors, added to running sums
                                finish(visit)       → what the client does for itself
    server(closing)             → the new global vector, from the sums

where ``visit`` and ``closing`` carry everything the functions may read or change. The state of a
client and of the server are dictionaries of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.federation.clients import State
from bench.federation.exact_sum import ExactSum
from bench.federation.work import Work
from bench.models.flat import FlatModel
from bench.randomness import address
from bench.suites.scenario import Scenario
from bench.training.ahead import Ahead
from bench.training.step import Hook
from bench.training.trainer import LocalResult

Settings = Mapping[str, Any]
"""A strategy's parameters by the names the catalogue gives them, defaults filled in."""
OWN = "personal/"
"""Stands before the names of the vectors of a model that a client keeps for itself."""


class LocalTrainer(Protocol):
    """The part of :class:`bench.training.trainer.Trainer` that a federation uses."""

    flat: FlatModel
    optimizer: Any
    ahead: Ahead | None
    """To be told of trainings to come, where several may be done at once."""

    def train(
        self,
        rows: NDArray[np.int64],
        *,
        epochs: int,
        batch_size: int | None,
        seed_address: tuple[int, int, int],
        optimizer_state: dict[str, Tensor] | None = None,
        hook: Hook | None = None,
        steps: int | None = None,
    ) -> LocalResult: ...

    def recalibrate(self, rows: NDArray[np.int64], batch_size: int | None = 64) -> None: ...


@dataclass(slots=True, kw_only=True)
class Visit:
    """One client's part in one round."""

    scenario: Scenario
    settings: Settings
    trainer: LocalTrainer
    round: int
    client: int
    rows: NDArray[np.int64]
    work: Work
    """What the client has time for."""
    share: float
    """Its weight over the sum of the weights of the clients that report in this round: n_k / Σ n,
    unless the scenario weighs them otherwise."""
    share_of_all: float
    """Its weight over the sum of all clients' weights."""
    start: Tensor
    """(P,) the global parameters that were sent; not to be changed."""
    server: State
    """The server's state as it was sent; not to be changed."""
    state: State
    """The client's own state; changes are kept."""
    personal: Tensor
    """(p,) int64: the elements of the parameters that stay with the client."""
    sums: Mapping[str, ExactSum]
    scalars: dict[str, list[float]]
    """Terms of plain sums, by name; they are added exactly."""
    scratch: Tensor
    """(P,) to compute in; whatever it holds may be overwritten by the next caller."""
    main: LocalResult | None = None
    """Of the training whose loss is reported, once it is done."""
    beside: list[LocalResult] = field(default_factory=list)
    """Of further trainings."""
    norm: float | None = None
    """‖w‖₂ of the parameters as they stand, where training found it. Who changes them after that
    says None."""

    @property
    def parameters(self) -> Tensor:
        """(P,) the model's parameters: live, the client's after training."""
        return self.trainer.flat.parameters_flat

    @property
    def lr(self) -> float:
        """The local learning rate."""
        return float(self.scenario.optimizer["lr"])

    @property
    def result(self) -> LocalResult:
        """Of the main training, which must be done."""
        assert self.main is not None, "the client has not been trained"
        return self.main

    def train(
        self,
        hook: Hook | None = None,
        *,
        epochs: int | None = None,
        whole: bool = False,
        purpose: str | None = None,
    ) -> LocalResult:
        """Local steps from the model as it stands, by a fresh optimiser, as the scenario says.

        The client does what it has time for, or so many ``epochs``. ``whole`` takes all its rows as
        one batch. ``purpose`` gives a training beside the main one batches of its own.
        """
        seed = self.scenario.seed
        work = self.work if epochs is None else Work(epochs=epochs)
        result = self.trainer.train(
            self.rows,
            epochs=work.epochs,
            steps=work.steps,
            batch_size=None if whole else self.scenario.batch_size,
            seed_address=(
                seed if purpose is None else address(seed, purpose),
                self.round,
                self.client,
            ),
            optimizer_state=None,
            hook=hook,
        )
        self.norm = result.norm
        if purpose is None:
            self.main = result
        else:
            self.beside.append(result)
        return result

    def survey(self, gradient: Tensor | None = None) -> float:
        """The loss over the client's rows at the parameters sent, which the model then holds again.

        ``gradient`` (P,), where given, is set to the loss's mean gradient. One pass over the rows
        in the scenario's batches, in training mode, by steps of length zero; running statistics
        are put back. Its loss is not part of the round's.
        """
        from bench.training.images import batch_bounds

        flat = self.trainer.flat
        kept = flat.buffers_flat.clone(), flat.counters_flat.clone()
        n = len(self.rows)
        parts = [(b - a) / n for a, b in batch_bounds(n, self.scenario.batch_size)]
        turn = iter(parts)

        def gather(_: Tensor, gradients: Tensor) -> None:
            if gradient is not None:
                gradient.add_(gradients, alpha=next(turn))

        if gradient is not None:
            gradient.zero_()
        optimizer = self.trainer.optimizer
        lr, optimizer.lr = optimizer.lr, 0.0
        try:
            result = self.train(gather, epochs=1, purpose="survey")
        finally:
            optimizer.lr = lr
        self.beside.pop()
        flat.parameters_flat.copy_(self.start)
        flat.buffers_flat.copy_(kept[0])
        flat.counters_flat.copy_(kept[1])
        self.norm = None
        return result.loss

    def change(self) -> Tensor:
        """(P,) the client's parameters less those sent, in the scratch vector."""
        return torch.sub(self.parameters, self.start, out=self.scratch)

    def send(self, weight: float, then: Tensor | None = None) -> None:
        """The client's parameters join the round's sum of them; ``then`` is what the model holds
        after that, where nothing asks for them any more."""
        self.sums["parameters"].add(self.parameters, weight, self.norm, then)
        if then is not None:
            self.norm = None

    def add_scalar(self, name: str, value: float) -> None:
        """A term of one of the round's plain sums."""
        self.scalars.setdefault(name, []).append(value)


@dataclass(slots=True, kw_only=True)
class Closing:
    """The end of a round on the server."""

    scenario: Scenario
    settings: Settings
    round: int
    clients: tuple[int, ...]
    """Those who reported, sorted."""
    largest_share: float
    """The largest ``share_of_all`` of any client, whether or not it took part."""
    parameters: Tensor
    """(P,) the global parameters: live, to be changed."""
    server: State
    """The server's state: live, to be changed."""
    sums: Mapping[str, ExactSum]
    stack: Tensor | None
    """(m, P) every client's parameters, for strategies that look at each; else None."""
    scalars: Mapping[str, Sequence[float]]
    scratch: Tensor
    """(P,) to compute in."""

    def mean(self) -> Tensor:
        """(P,) float64: Σ c·w, for the weights c the strategy gave; live, not to be changed."""
        return self.sums["parameters"].total()

    def change(self) -> Tensor:
        """(P,) fp32: Σ c·(w - w₀), for the weights c the strategy gave; in the scratch vector."""
        total = self.sums["parameters"]
        return torch.sub(total.total(), self.parameters, alpha=total.weight, out=self.scratch)

    def scalar(self, name: str) -> float:
        """One of the plain sums, the same in any order."""
        return math.fsum(self.scalars.get(name, ()))


def train_plainly(visit: Visit) -> None:
    """Local steps and nothing else."""
    visit.train()


def send_parameters(visit: Visit) -> None:
    """The client's parameters, by its share of the round's mean."""
    visit.send(visit.share)


def do_nothing(visit: Visit) -> None:
    """The client is done."""


def take_the_mean(closing: Closing) -> None:
    """w ← Σ (n_k / Σ n)·w_k (McMahan et al. 2017, Algorithm 1)."""
    closing.sums["parameters"].copy_to(closing.parameters)


def no_state(like: Tensor, settings: Settings) -> State:
    """Nothing is kept between rounds."""
    return {}


def own_model(state: State) -> State:
    """The live vectors of the model that a client keeps for itself, as ``FlatModel.vectors``."""
    return {n.removeprefix(OWN): t for n, t in state.items() if n.startswith(OWN)}


def all_shared(module: nn.Module) -> tuple[str, ...]:
    """No parameter stays with the clients."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One row of the table."""

    source: str
    """The paper, and where in it."""
    setting: Literal["federated", "pooled", "alone"] = "federated"
    """``pooled``: one learner with everyone's data; ``alone``: each client for itself."""
    server_state: Callable[[Tensor, Settings], State] = no_state
    """The server's state before the first round, for parameters like the (P,) vector given."""
    client_state: Callable[[Tensor, Settings], State] = no_state
    """A client's state before its first round."""
    local: Callable[[Visit], None] = train_plainly
    contribute: Callable[[Visit], None] = send_parameters
    finish: Callable[[Visit], None] = do_nothing
    server: Callable[[Closing], None] = take_the_mean
    sums: tuple[str, ...] = ("parameters",)
    """The running sums that ``contribute`` adds to, each (P,)."""
    stacked: bool = False
    """Whether the server looks at every client's vector; memory then grows with the clients."""
    up: int = 1
    """Vectors of parameters that a client sends a round; running statistics go beside them."""
    down: int = 1
    """Vectors of parameters that a client is sent a round."""
    personal: Callable[[nn.Module], tuple[str, ...]] = all_shared
    """The names of parameters that stay with the client."""
    keeps_buffers: bool = False
    """Whether running statistics stay with the client whatever ``buffers`` says."""
    keeps_model: bool = False
    """Whether each client keeps a model of its own in its state, see :func:`own_model`."""
    private: bool = False
    """Whether nothing may be sent that is not clipped and noised: no running statistics."""
    epsilon: Callable[[Scenario, int], float | None] = lambda scenario, rounds: None
    """ε of differential privacy spent after so many rounds, or None where it is not accounted."""
    least: Callable[[Scenario], int] = lambda scenario: 0
    """The clients that must report in every round; a round of fewer fails."""
    check: Callable[[Scenario], None] = lambda scenario: None
    """Raises SuiteError where the strategy cannot go with the rest of the scenario."""
