"""A client's part of a round: ClientUpdate of McMahan et al. 2017, Algorithm 1.

A client is a copy of the global vector into the process's one model, local steps, and a weighted
addition to the round's sums. Nothing that one client does depends on another of the same round, so
a round's clients can be visited in any order and by any number of processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.errors import NonFiniteError, ScenarioFailed
from bench.federation.clients import ClientStore, State
from bench.federation.compression import FLOAT_BYTES, Compression
from bench.federation.exact_sum import OutOfRange
from bench.federation.strategies import LocalTrainer, Strategy, Visit
from bench.federation.strategies.strategy import OWN, Settings, do_nothing, send_parameters
from bench.models.flat import FlatModel
from bench.training.trainer import LocalResult

if TYPE_CHECKING:
    from bench.federation.buffers import Buffers

BYTES_UP = "bytes up"
"""The plain sum of what clients send."""


@dataclass(slots=True, kw_only=True)
class Gathering:
    """What the visits of a round add up to, beside the running sums of vectors."""

    clients: tuple[int, ...]
    """Those who are visited, sorted."""
    stack: Tensor | None
    """(m, P) every client's parameters, in the order of ``clients``, where the server looks at
    each; else None."""
    scalars: dict[str, list[float]] = field(default_factory=dict)
    """Terms of plain sums, by name."""
    main: dict[int, LocalResult] = field(default_factory=dict)
    """By client, the training whose loss is reported."""
    beside: list[LocalResult] = field(default_factory=list)
    """Further trainings."""

    @property
    def bytes_up(self) -> int:
        """What the clients sent; scalars and counters are left out."""
        return int(math.fsum(self.scalars.get(BYTES_UP, ())))


class ClientUpdate:
    """What a client does in a round, in the model of this process.

    Parameters
    ----------
    strategy, settings : the strategy's row and its parameters.
    trainer : trains the process's one model.
    store : keeps what clients keep between rounds.
    buffers : what becomes of running statistics.
    personal : (p,) int64, the elements of the parameters that stay with the clients.
    compression : of what the clients send.
    """

    def __init__(
        self,
        strategy: Strategy,
        settings: Settings,
        trainer: LocalTrainer,
        store: ClientStore,
        buffers: Buffers,
        personal: Tensor,
        compression: Compression,
    ) -> None:
        self._strategy = strategy
        self._settings = settings
        self._store = store
        self._flat = flat = trainer.flat
        self._buffers = buffers
        self._personal = personal
        self._compression = compression
        self._begins_again = (
            strategy.contribute is send_parameters
            and strategy.finish is do_nothing
            and not strategy.stacked
            and not personal.numel()
        )
        """Whether a client is done with its parameters when it has sent them as they are. The model
        then takes those that the next is sent while they are added, and not in another pass."""
        self._initial = flat.copies() if personal.numel() or strategy.keeps_model else {}

    def state_of(self, client: int, parameters: Tensor) -> State:
        """What the client keeps, or before its first round what it begins with, the global
        ``parameters`` (P,) being what they are."""
        state = self._store.get(client)
        return self.fresh_state(parameters) if state is None else state

    def fresh_state(self, parameters: Tensor) -> State:
        """What a client begins with; empty where clients keep nothing."""
        state = dict(self._strategy.client_state(parameters, self._settings))
        if self._personal.numel():
            state["personal"] = self._initial["parameters"][self._personal]
        if self._strategy.keeps_model:
            state |= {OWN + name: t.clone() for name, t in self._initial.items()}
        self._buffers.begin_state(state)
        self._compression.begin_state(state, parameters)
        return state

    def __call__(self, visit: Visit, gathering: Gathering, *, sent: bool = False) -> bool:
        """From what the client is sent to what it keeps; its results join ``gathering``.

        ``sent`` says that the model holds the parameters which the client is sent; what is returned
        says whether it holds them again.
        """
        flat = self._flat
        if not sent:
            flat.parameters_flat.copy_(visit.start)
        if self._personal.numel():
            flat.parameters_flat.index_copy_(0, self._personal, visit.state["personal"])
        self._buffers.load(visit.state)
        try:
            self._strategy.local(visit)
            visit.add_scalar(BYTES_UP, self._send(visit))
            if self._begins_again:
                visit.send(visit.share, then=visit.start)
            else:
                self._strategy.contribute(visit)
            self._buffers.add(visit)
        except OutOfRange as error:
            raise diverged(self._flat, visit.round, visit.client, error) from error
        if gathering.stack is not None:
            gathering.stack[gathering.clients.index(visit.client)].copy_(visit.parameters)
        if self._personal.numel():
            torch.index_select(visit.parameters, 0, self._personal, out=visit.state["personal"])
        self._buffers.keep(visit.state)
        self._strategy.finish(visit)
        if visit.state:
            self._store.put(visit.client, visit.round, visit.state)
        gathering.main[visit.client] = visit.result
        gathering.beside += visit.beside
        return self._begins_again

    def _send(self, visit: Visit) -> int:
        """The parameters become what the server gets; returns the bytes of all the client sends."""
        first = self._compression.send(visit)
        beside = (self._strategy.up - 1) * (visit.parameters.numel() - self._personal.numel())
        return first + FLOAT_BYTES * (beside + self._buffers.shared)


def diverged(flat: FlatModel, number: int, client: int, error: OutOfRange) -> ScenarioFailed:
    """What to raise where the client's model, in ``flat``, cannot be added to a sum."""
    name = flat.first_non_finite()
    where = f"round {number}, client {client}"
    mend = "lower the optimizer's lr"
    if name is not None:
        return NonFiniteError(
            "training gave a number that is not finite",
            where=where,
            found=f"NaN or infinity in {name}",
            mend=mend,
        )
    return ScenarioFailed(
        "training diverged: what a client sends is too large to be summed",
        where=where,
        found=f"a weighted value of {error}",
        mend=mend,
    )
