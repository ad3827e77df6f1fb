"""Which process of a team has each client's state, and how a state moves to where it is needed.

A round's clients are dealt out anew every time, the longest trainings first. Where clients keep
something, it goes with them: all moves of a round are one exchange. A client that was not visited
since the run was begun or carried on has its state on the disk, or none yet, and is at home
anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from bench.federation.clients import ClientStore, State
from bench.federation.team import Team, integers, together


class Homes:
    """Where the clients' states are. Every member of the team holds the same.

    Parameters
    ----------
    store : this process's.
    fresh : makes a state as a client has it before its first round.
    """

    def __init__(self, team: Team, store: ClientStore, fresh: Callable[[], State]) -> None:
        self._team = team
        self._store = store
        self._fresh = fresh
        self._keeps = team.size > 1 and bool(fresh())
        self._at: dict[int, int] = {}

    def of(self, client: int) -> int:
        """A member that has the client's state, or can read it."""
        return self._at.get(client, 0)

    def forget(self) -> None:
        """All states are on the disk, and those in memory hold no longer."""
        self._at.clear()

    def settle(self, homes: Mapping[int, int]) -> None:
        """Moves the clients' states to the members that ``homes`` has for them.

        Raises what reading a state does, as :func:`~bench.federation.team.together` has it.
        """
        if not self._keeps:
            return
        moving = [k for k in sorted(homes) if self._at.get(k, homes[k]) != homes[k]]
        if moving:
            self._move(moving, homes)
        self._at |= homes

    def _move(self, moving: list[int], homes: Mapping[int, int]) -> None:
        states: dict[int, State] = {}

        def fetch() -> dict[str, int]:
            rounds = {}
            for client in moving:
                if self._at[client] == self._team.rank:
                    states[client], rounds[str(client)] = self._store.take(client)
                else:
                    states[client] = {n: torch.zeros_like(t) for n, t in self._fresh().items()}
            return rounds

        told = together(self._team, fetch)
        named = [states[client][name] for client in moving for name in sorted(states[client])]
        self._team.add_up(integers(named))
        for client in moving:
            if homes[client] == self._team.rank:
                rounds = told[self._at[client]]
                self._store.put(client, rounds[str(client)], states[client])
