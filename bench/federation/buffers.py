"""What becomes of batch normalisation's running statistics in a federation: a declared choice.

=============== ==================================================================================
``average``     clients are sent them and send theirs; the server takes the mean by the clients'
                shares of the round (``weights``), and of the batch counters the largest
``local``       each client keeps its own (Li et al. 2021, FedBN); no statistics are sent. The
                global model has the weighted mean over the last round's clients, to be scored by,
                or under differential privacy the initial ones
``frozen``      they are never updated: training normalises by the initial ones, and none are sent
``recalibrate`` after the server's step the round's clients pass their images through the new model
                without gradients, and the mean of what they find, by their shares, is sent round
``groupnorm``   the network has none
=============== ==================================================================================

Means have positive weights, so a running variance stays positive; server optimisers never see one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.federation.client_update import diverged
from bench.federation.clients import State
from bench.federation.exact_sum import ExactSum, OutOfRange, magnitude
from bench.federation.reduction import reduce
from bench.models.flat import FlatModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.federation.engine import Federation
    from bench.federation.strategies import Visit

BUFFERS, COUNTERS = "buffers", "counters"
"""The names under which a client keeps its statistics."""


class Buffers:
    """The global statistics (Q,) fp32 and counters (R,) int64 under one of the choices.

    ``keep`` makes the choice ``local``, unless they are frozen: for strategies that define it so.
    Under ``private`` what clients keep stays with them: no mean of it is taken, and the global
    model has the initial statistics.
    """

    def __init__(
        self, choice: str, flat: FlatModel, *, keep: bool = False, private: bool = False
    ) -> None:
        self._flat = flat
        self._private = private
        self._choice = "local" if keep and choice != "frozen" else choice
        self._global = flat.buffers_flat.clone()
        self._counters = flat.counters_flat.clone()
        self._initial = self._global.clone(), self._counters.clone()
        self._seen = torch.zeros_like(self._counters)
        self._sum = ExactSum(self._global.numel(), self._global.device)

    @property
    def local(self) -> bool:
        """Whether each client keeps its own."""
        return self._choice == "local"

    @property
    def _averaged(self) -> bool:
        """Whether a round's mean is taken of what training left."""
        taken = ("average",) if self._private else ("average", "local")
        return self._global.numel() > 0 and self._choice in taken

    @property
    def shared(self) -> int:
        """The statistics sent each way by each client of a round."""
        return self._global.numel() if self._choice in ("average", "recalibrate") else 0

    def start(self) -> None:
        """A round begins."""
        if self._global.numel() == 0:
            return
        self._sum.start(magnitude(self._global))
        self._seen.zero_()

    def begin_state(self, state: State) -> None:
        """Adds what a client keeps before its first round: the initial statistics."""
        if self.local and self._global.numel():
            state[BUFFERS], state[COUNTERS] = (t.clone() for t in self._initial)

    def load(self, state: State) -> None:
        """Into the model: the statistics a client starts a round with."""
        if self._global.numel() == 0:
            return
        self._flat.buffers_flat.copy_(state.get(BUFFERS, self._global))
        self._flat.counters_flat.copy_(state.get(COUNTERS, self._counters))

    def load_global(self) -> None:
        """Into the model: the global statistics."""
        self.load({})

    def add(self, visit: Visit) -> None:
        """The trained client's statistics join the round's mean."""
        if self._averaged:
            self._take(visit.share)

    def _take(self, share: float) -> None:
        self._sum.add(self._flat.buffers_flat, share)
        torch.maximum(self._seen, self._flat.counters_flat, out=self._seen)

    def keep(self, state: State) -> None:
        """The trained client's statistics join its state, where it keeps them."""
        if BUFFERS in state:
            state[BUFFERS].copy_(self._flat.buffers_flat)
            state[COUNTERS].copy_(self._flat.counters_flat)

    @property
    def running(self) -> tuple[list[ExactSum], Tensor]:
        """The round's running sums, and the largest counters (R,) seen in it."""
        return [self._sum] if self._averaged else [], self._seen

    def close(self, clients: Sequence[int]) -> None:
        """The round's mean becomes the global one; without clients it stays as it was."""
        if clients and self._averaged:
            self._replace()

    def _replace(self) -> None:
        self._global.copy_(self._sum.total())
        self._counters.copy_(self._seen)

    def recalibrate(
        self, federation: Federation, number: int, shares: Mapping[int, float], own: Sequence[int]
    ) -> int:
        """Where it is the choice: every client's statistics of the new global model, averaged.

        ``shares`` has the weight of each of the clients of round ``number``; this process visits
        its ``own``. Returns how many clients were sent the new model.

        Raises NonFiniteError, naming round, client and tensor, where what a client finds is not
        finite, and OutOfRange where the statistics of all are together too large to be summed.
        """
        if self._choice != "recalibrate" or not shares or self._global.numel() == 0:
            return 0

        def visit() -> None:
            for client in own:
                federation.load_global()
                federation.trainer.recalibrate(federation.rows_of(client))
                try:
                    self._take(shares[client])
                except OutOfRange as error:
                    raise diverged(self._flat, number, client, error) from error

        reduce(federation.team, visit, [self._sum], counters=self._seen)
        self._replace()
        return len(shares)

    def state(self) -> State:
        """The global statistics, by name; live."""
        return {"statistics": self._global, "counters": self._counters}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        self._global.copy_(state["statistics"])
        self._counters.copy_(state["counters"])
