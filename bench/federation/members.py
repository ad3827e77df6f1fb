"""The models that a federation has made: the global one, and those of its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.federation.strategies.strategy import own_model
from bench.federation.team import Team, spread, together
from bench.models.flat import FlatModel

if TYPE_CHECKING:
    from bench.federation.buffers import Buffers
    from bench.federation.client_update import ClientUpdate
    from bench.federation.homes import Homes
    from bench.federation.solo import Solo
    from bench.federation.strategies import Strategy

Member = tuple[str, Callable[[], None]]
"""(name, load): after ``load()`` the model holds that member's parameters and statistics."""


class Members:
    """What of a :class:`bench.federation.engine.Federation` can be scored and kept.

    There is one model in the process: each of them is copied into it in its turn.
    """

    strategy: Strategy
    team: Team
    parameters: Tensor
    _buffers: Buffers
    _client_update: ClientUpdate
    _flat: FlatModel
    _homes: Homes
    _personal: Tensor
    _rows: Sequence[NDArray[np.int64]]
    _solo: Solo | None

    def load_global(self) -> None:
        """Copies the global model into the process's model.

        Where clients keep parts to themselves (personal parameters, local statistics), the global
        model has the weighted mean of those parts over the last round's clients. It serves for
        scoring only; no client is sent it.
        """
        self._flat.parameters_flat.copy_(self.parameters)
        self._buffers.load_global()

    def load_personal(self, client: int) -> None:
        """Copies the model that ``client`` would use into the process's model: its own parameters
        and statistics where it has some, the global ones elsewhere."""
        flat, home = self._flat, self._homes.of(client)
        together(self.team, lambda: self._load_own(client) if self.team.rank == home else None)
        spread(self.team, home, [*flat.vectors.values()])

    def _load_own(self, client: int) -> None:
        self.load_global()
        state = self._client_update.state_of(client, self.parameters)
        if self.strategy.keeps_model:
            self._flat.restore(own_model(state))
            return
        if self._personal.numel():
            self._flat.parameters_flat.index_copy_(0, self._personal, state["personal"])
        self._buffers.load(state)

    def models(self) -> Iterator[Member]:
        """The models to be scored: the global one, or for ``local`` one a client, in order."""
        if self._solo is None:
            yield "global", self.load_global
        elif self.strategy.setting == "pooled":
            yield "global", partial(self._load_learner, 0)
        else:
            for client in range(len(self._rows)):
                yield f"client-{client}", partial(self._load_learner, client)

    def _load_learner(self, learner: int) -> None:
        assert self._solo is not None
        self._solo.load(learner)

    @property
    def is_personal(self) -> bool:
        """Whether clients have models of their own beside a global one."""
        return self._solo is None and (
            bool(self._personal.numel())
            or self.strategy.keeps_model
            or (self._buffers.local and self._flat.buffers_flat.numel() > 0)
        )

    def personal_models(self) -> Iterator[Member]:
        """One model a client where :attr:`is_personal`, in order; otherwise none."""
        if self.is_personal:
            for client in range(len(self._rows)):
                yield f"client-{client}", partial(self.load_personal, client)

    def export(self) -> dict[str, Tensor]:
        """The final model's tensors by name; for ``local`` as ``client-3/<name>``."""
        members = list(self.models())
        tensors: dict[str, Tensor] = {}
        for name, load in members:
            load()
            prefix = f"{name}/" if len(members) > 1 or self.strategy.setting == "alone" else ""
            tensors |= {prefix + key: t for key, t in self._flat.named_tensors().items()}
        return tensors
