"""Learners that exchange nothing: the two references beside every federation.

``centralized`` is one learner with everyone's images, ``local`` one a client. A learner is plain
training cut into rounds: its parameters, statistics and optimiser carry over from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.federation.client_update import Gathering
from bench.federation.clients import ClientStore, State
from bench.federation.reduction import join, told
from bench.federation.team import Team, spread, together
from bench.suites.scenario import Scenario
from bench.training.trainer import LocalResult

if TYPE_CHECKING:
    from bench.federation.strategies import LocalTrainer

OPTIMIZER = "optimizer/"
"""Stands before the names of the optimiser's tensors in a learner's state."""


class Solo:
    """The learners ``rows``; each one's state is in the store under its number.

    ``homes`` has the member of the team that each learner trains at.
    """

    def __init__(
        self,
        scenario: Scenario,
        trainer: LocalTrainer,
        rows: Sequence[NDArray[np.int64]],
        store: ClientStore,
        team: Team,
        homes: Mapping[int, int],
    ) -> None:
        self._team = team
        self._homes = homes
        self._scenario = scenario
        self._trainer = trainer
        self._rows = rows
        self._store = store
        self._initial = trainer.flat.copies()

    def round(self, number: int) -> tuple[tuple[int, ...], list[LocalResult], float]:
        """Every learner trains on; returns who they are, what their work amounted to, and the
        seconds of the member of the team that took longest."""
        everyone = tuple(range(len(self._rows)))
        gathering = Gathering(clients=everyone, stack=None)

        def work() -> dict[str, Any]:
            for learner in everyone:
                if self._homes[learner] == self._team.rank:
                    gathering.main[learner] = self._train(learner, number)
            return told(gathering)

        seconds = join(gathering, together(self._team, work))
        return everyone, [gathering.main[learner] for learner in everyone], seconds

    def _train(self, learner: int, number: int) -> LocalResult:
        state = self._store.get(learner)
        self._trainer.flat.restore(self._initial if state is None else state)
        optimizer = None if state is None else _optimizer(state)
        result = self._trainer.train(
            self._rows[learner],
            epochs=self._scenario.local_epochs,
            steps=self._scenario.local_steps,
            batch_size=self._scenario.batch_size,
            seed_address=(self._scenario.seed, number, learner),
            optimizer_state=optimizer,
        )
        kept = self._fresh(result) if state is None else state
        self._copy_out(result, kept)
        self._store.put(learner, number, kept)
        return result

    def load(self, learner: int) -> None:
        """Copies the learner's model, or before its first round the initial one, into the one
        model of every process of the team."""
        flat, home = self._trainer.flat, self._homes[learner]

        def work() -> None:
            if self._team.rank == home:
                flat.restore(self._store.get(learner) or self._initial)

        together(self._team, work)
        spread(self._team, home, [*flat.vectors.values()])

    def _fresh(self, result: LocalResult) -> State:
        """Memory of its own for a learner's first state."""
        state = {name: tensor.clone() for name, tensor in self._initial.items()}
        return state | {OPTIMIZER + n: t.clone() for n, t in result.optimizer_state.items()}

    def _copy_out(self, result: LocalResult, state: State) -> None:
        for name, tensor in self._trainer.flat.vectors.items():
            state[name].copy_(tensor)
        for name, tensor in result.optimizer_state.items():
            state[OPTIMIZER + name].copy_(tensor)


def _optimizer(state: State) -> State:
    return {n.removeprefix(OPTIMIZER): t for n, t in state.items() if n.startswith(OPTIMIZER)}
