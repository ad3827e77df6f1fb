"""The round loop: draw clients, let each train from the global vector, sum, step.

There is one model in the process. A client is a copy into its flat vectors, local steps and a
weighted addition, so a round costs what its images cost and memory does not grow with the number of
clients. Sums are exact and therefore independent of the order in which clients are visited, and of
which of a team's processes visits them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import NonFiniteError, ScenarioFailed, SuiteError
from bench.federation.buffers import Buffers
from bench.federation.client_update import ClientUpdate, Gathering
from bench.federation.clients import ClientStore, State
from bench.federation.compression import FLOAT_BYTES, Compression
from bench.federation.exact_sum import ExactSum, OutOfRange, magnitude
from bench.federation.homes import Homes
from bench.federation.members import Members
from bench.federation.outcome import RoundResult, Traffic, round_result
from bench.federation.participation import Participation, drawn_for, participation
from bench.federation.reduction import join, reduce, told
from bench.federation.solo import Solo
from bench.federation.strategies import TABLE, Closing, LocalTrainer, Strategy, Visit
from bench.federation.strategies.strategy import train_plainly
from bench.federation.team import ALONE, Team, longest_first, together
from bench.federation.weights import shares, shares_of_all
from bench.federation.work import Work
from bench.suites.scenario import IMPLIED, Scenario
from bench.training.ahead import Job


class Federation(Members):
    """A scenario's learners. ``trainer``'s model must hold the initial parameters.

    Parameters
    ----------
    scenario : its strategy, clients' work, fraction, buffers and seed are used.
    trainer : trains the process's one model.
    clients : (n_k,) int64 rows of the training images, for each client.
    store : keeps what clients keep between rounds.
    strategy : a row to use in place of the one that the scenario names.
    team : the processes that share the clients. Each has a Federation of its own like this one, all
        call the same methods in the same order, and all end a round with the same global model.
    """

    def __init__(
        self,
        scenario: Scenario,
        trainer: LocalTrainer,
        clients: Sequence[NDArray[np.int64]],
        store: ClientStore,
        *,
        strategy: Strategy | None = None,
        team: Team = ALONE,
    ) -> None:
        scenario = replace(scenario, **IMPLIED.get(scenario.strategy.name, {}))
        self.scenario = scenario
        self.trainer = trainer
        self.team = team
        self.strategy = strategy or TABLE[scenario.strategy.name]
        self.strategy.check(scenario)
        self._settings = dict(scenario.strategy.parameters)
        self._store = store
        self._flat = flat = trainer.flat
        store.device = flat.device
        self._rows = [np.asarray(rows, dtype=np.int64) for rows in clients]
        self._sizes = [len(rows) for rows in self._rows]
        self._shares_of_all = shares_of_all(scenario, self._sizes)
        self._round = 0
        self.parameters = flat.parameters_flat.clone()
        """(P,) fp32, the global model's."""
        self._personal = self._personal_places()
        self._buffers = Buffers(
            scenario.buffers,
            flat,
            keep=self.strategy.keeps_buffers,
            private=self.strategy.private,
        )
        if self.strategy.private and self._buffers.shared:
            raise _statistics_in_the_clear(scenario)
        self._client_update = ClientUpdate(
            self.strategy,
            self._settings,
            trainer,
            store,
            self._buffers,
            self._personal,
            Compression(scenario, self.strategy, self._personal),
        )
        self._homes = Homes(team, store, lambda: self._client_update.fresh_state(self.parameters))
        self._server = self.strategy.server_state(self.parameters, self._settings)
        if self.strategy.setting == "federated":
            self._solo = None
            self._allocate()
        else:
            pooled = self.strategy.setting == "pooled"
            learners = [np.sort(np.concatenate(self._rows))] if pooled else self._rows
            lengths = {learner: float(len(rows)) for learner, rows in enumerate(learners)}
            at = longest_first(lengths, team.size)
            self._solo = Solo(scenario, trainer, learners, store, team, at)

    def _allocate(self) -> None:
        size, device = self.parameters.numel(), self.parameters.device
        self._scratch = torch.empty_like(self.parameters)
        often = self._flat.parameters_flat, self.parameters, self._scratch
        self._sums = {name: ExactSum(size, device, often=often) for name in self.strategy.sums}
        self._magnitude = self._check_global(0)

    def _share_out(self, work: Mapping[int, Work]) -> dict[int, int]:
        """Which member of the team does each client's work, by images passed."""
        if self.team.size == 1:
            return dict.fromkeys(work, 0)
        batch = self.scenario.batch_size
        images = {
            k: float(one.count(self._sizes[k], batch) * min(batch or math.inf, self._sizes[k]))
            for k, one in work.items()
        }
        return longest_first(images, self.team.size)

    def _personal_places(self) -> Tensor:
        """(p,) int64: the elements of the parameter vector that stay with the clients."""
        names = set(self.strategy.personal(self._flat.module))
        slots = [s for s in self._flat.layout.parameters if s.name in names]
        places = [torch.arange(s.start, s.stop) for s in slots]
        return torch.cat([torch.zeros(0, dtype=torch.int64), *places]).to(self.parameters.device)

    def round(self, number: int, clients: Sequence[int] | None = None) -> RoundResult:
        """Round ``number``, 1-based. ``clients`` are visited, in that order unless the trainer does
        several at once, in place of those drawn; the order does not change a bit of the result.

        Raises NonFiniteError, naming the round and the tensor, where the new global model holds NaN
        or infinity, what the trainer raises, which names the client as well, and before anyone is
        trained ScenarioFailed where too few clients report for the strategy.
        """
        self._round = number
        if self._solo is not None:
            chosen, results, seconds = self._solo.round(number)
            return round_result(number, chosen, results, [], Traffic(), seconds=seconds)
        drawn = drawn_for(self.scenario, self._sizes, number) if clients is None else clients
        taking = participation(self.scenario, self._sizes, number, drawn)
        self._check_enough(taking)
        own = shares(self.scenario, self._sizes, taking.work)
        for total in self._sums.values():
            total.start(self._magnitude)
        self._buffers.start()
        gathering = Gathering(clients=taking.clients, stack=self._stack(len(taking.clients)))
        homes = self._share_out(taking.work)
        self._homes.settle(homes)
        here = [client for client in taking.work if homes[client] == self.team.rank]
        with self._summing():
            seconds = self._visit_all(here, taking, own, gathering)
            self._close(gathering)
            passes = self._buffers.recalibrate(self, number, own, here)
        return round_result(
            number,
            taking.clients,
            [*gathering.main.values()],
            gathering.beside,
            Traffic(up=gathering.bytes_up, down=self._bytes_down(taking, passes)),
            self.strategy.epsilon(self.scenario, number),
            taking,
            seconds,
        )

    def _check_enough(self, taking: Participation) -> None:
        least, name = self.strategy.least(self.scenario), self.scenario.strategy.name
        if len(taking.clients) < least:
            raise ScenarioFailed(
                f"{name} has too few clients in this round",
                where=f"round {self._round}, on the server",
                expected=f"{least} or more that report",
                found=f"{len(taking.clients)} of {len(taking.drawn)} that were drawn",
                mend="raise clients or fraction, lower dropout or the share of stragglers, sample "
                "uniformly, or choose a strategy that takes any number, such as median",
            )

    def _visit_all(
        self, here: Sequence[int], taking: Participation, own: dict[int, float], into: Gathering
    ) -> float:
        """Visits the clients that this process has, and joins what all processes gathered.

        Returns the seconds of training of the process that took longest.
        """

        def visits() -> None:
            sent = False
            for client in self._announced(here, taking):
                visit = self._visit(client, taking, own, into)
                sent = self._client_update(visit, into, sent=sent)

        if self.team.size == 1:
            visits()
            return math.fsum(result.seconds for result in [*into.main.values(), *into.beside])

        def work() -> dict[str, Any]:
            visits()
            return told(into)

        statistics, counters = self._buffers.running
        sums = [*self._sums.values(), *statistics]
        return join(into, reduce(self.team, work, sums, counters=counters, stack=into.stack))

    def _announced(self, here: Sequence[int], taking: Participation) -> Sequence[int]:
        """The clients in the order in which to visit them, which changes no result.

        Where the trainer can do several trainings at once, it is told of those that are nothing but
        steps from the global parameters, the largest first, so that neighbours are much alike.
        """
        ahead, plain = self.trainer.ahead, self.strategy.local is train_plainly
        if ahead is None or not plain or self._personal.numel():
            return here
        jobs = {
            client: Job(
                rows=self._rows[client],
                epochs=taking.work[client].epochs,
                steps=taking.work[client].steps,
                batch_size=self.scenario.batch_size,
                seed_address=(self.scenario.seed, self._round, client),
            )
            for client in here
        }
        order = sorted(here, key=lambda client: jobs[client].sort_key, reverse=True)
        ahead.expect([jobs[client] for client in order], self.parameters)
        return order

    @contextmanager
    def _summing(self) -> Iterator[None]:
        """What all clients send together may be out of range though no client's is."""
        try:
            yield
        except OutOfRange as error:
            raise ScenarioFailed(
                "training diverged: what clients send is together too large to be summed",
                where=f"round {self._round}, on the server",
                found=f"weighted values of {error}",
                mend="lower the optimizer's lr",
            ) from error

    def _stack(self, members: int) -> Tensor | None:
        if not self.strategy.stacked:
            return None
        return self.parameters.new_zeros((members, self.parameters.numel()))

    def _visit(
        self, client: int, taking: Participation, own: dict[int, float], gathering: Gathering
    ) -> Visit:
        return Visit(
            scenario=self.scenario,
            settings=self._settings,
            trainer=self.trainer,
            round=self._round,
            client=client,
            rows=self._rows[client],
            work=taking.work[client],
            share=own[client],
            share_of_all=self._shares_of_all[client],
            start=self.parameters,
            server=self._server,
            state=self._client_update.state_of(client, self.parameters),
            personal=self._personal,
            sums=self._sums,
            scalars=gathering.scalars,
            scratch=self._scratch,
        )

    def _close(self, gathering: Gathering) -> None:
        """The server's step. Where nobody reported the global model stays as it is, except that a
        private strategy adds its noise whoever is there."""
        if not gathering.clients and not self.strategy.private:
            return
        closing = Closing(
            scenario=self.scenario,
            settings=self._settings,
            round=self._round,
            clients=gathering.clients,
            largest_share=max(self._shares_of_all),
            parameters=self.parameters,
            server=self._server,
            sums=self._sums,
            stack=gathering.stack,
            scalars=gathering.scalars,
            scratch=self._scratch,
        )
        self.strategy.server(closing)
        self._buffers.close(gathering.clients)
        self._magnitude = self._check_global(self._round)

    def _check_global(self, number: int) -> float:
        """The largest magnitude of the global parameters; waits for the device."""
        largest = magnitude(self.parameters)
        if math.isfinite(largest):
            return largest
        for slot in self._flat.layout.parameters:
            if not bool(torch.isfinite(slot.view(self.parameters)).all()):
                break
        raise NonFiniteError(
            "aggregation gave a number that is not finite",
            where=f"round {number}, on the server",
            found=f"NaN or infinity in {slot.name}",
            mend="lower the strategy's server_lr or the optimizer's lr",
        )

    def _bytes_down(self, taking: Participation, passes: int) -> int:
        """All who were drawn were sent the model; ``passes`` of them the new one again."""
        shared = self.parameters.numel() - self._personal.numel()
        sent = self.strategy.down * shared + self._buffers.shared
        return FLOAT_BYTES * (len(taking.drawn) * sent + passes * shared)

    def rows_of(self, client: int) -> NDArray[np.int64]:
        """(n_k,) the client's rows of the training images."""
        return self._rows[client]

    def state(self) -> State:
        """All that the next round needs, by name, beside the client files it writes first.

        The tensors are live: save them before the next round, then call :meth:`commit`.
        """
        for written in together(self.team, self._written):
            for client, number in written:
                self._store.versions[client] = max(number, self._store.versions.get(client, -1))
        versions = torch.full((max(1, len(self._rows)),), -1, dtype=torch.int64)
        for client, number in self._store.versions.items():
            versions[client] = number
        state = {"round": torch.tensor(self._round), "clients": versions}
        if self._solo is None:
            state["parameters"] = self.parameters
            state |= {f"buffers/{name}": t for name, t in self._buffers.state().items()}
            state |= {f"server/{name}": t for name, t in self._server.items()}
        return state

    def _written(self) -> list[tuple[int, int]]:
        """Writes what this process keeps; returns its clients and the rounds of their files."""
        self._store.flush()
        return list(self._store.versions.items())

    def load_state(self, state: State) -> None:
        """Goes back to a state that was saved; the next round is then as it would have been."""
        self._round = int(state["round"])
        self._store.restore({k: v for k, v in enumerate(state["clients"].tolist()) if v >= 0})
        self._homes.forget()
        if self._solo is not None:
            return
        self.parameters.copy_(state["parameters"])
        self._buffers.load_state(
            {n.removeprefix("buffers/"): t for n, t in state.items() if n.startswith("buffers/")}
        )
        for name, tensor in self._server.items():
            tensor.copy_(state[f"server/{name}"])
        self._magnitude = self._check_global(self._round)

    def commit(self, number: int) -> None:
        """Says that a checkpoint with the state after round ``number`` is on disk, so that client
        files it does not name can go."""
        assert number == self._round, f"round {number} is not the last, {self._round}"
        self._store.commit(sweep=self.team.rank == 0)

    def discard(self) -> None:
        """Deletes everything kept for clients; the federation cannot go on after it."""
        self._store.discard()


def _statistics_in_the_clear(scenario: Scenario) -> SuiteError:
    return SuiteError(
        f"{scenario.strategy.name} cannot be used with 'buffers: {scenario.buffers}'",
        expected="buffers: groupnorm, frozen or local",
        found="running statistics that clients would send without noise",
        mend="set buffers to groupnorm",
    )
