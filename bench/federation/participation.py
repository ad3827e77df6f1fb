"""Who takes part in a round, and how far each gets: sampling, dropout, stragglers.

The clients drawn for a round are sent the model. Then

- each of them drops out with probability ``dropout``, on its own, and never reports: what it may
  have trained is lost, and what it keeps for itself is as before;
- the share ``stragglers`` of them, rounded, any of them equally likely, runs out of time. Under
  ``partial`` a straggler sends what it has after a part of its work, as in the experiments of
  FedProx (Li, Sahu et al. 2020, section 5.2); under ``dropped`` it is left out, as FedAvg does
  there.

A straggler's part is a number of epochs drawn from 1 … E - 1, as in that paper's code; where E is 1
or the work is given in steps, a number of steps drawn from 1 … τ - 1. A client that has a single
step to make makes it. Those who drop out and those who straggle are drawn independently, from
addresses of their own, so the same clients are drawn, and the same batches, with and without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.federation.sampling import rounded, sample, sample_by_size, sample_poisson
from bench.federation.work import Work, whole_work
from bench.randomness import generator
from bench.suites.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """The clients of one round."""

    drawn: tuple[int, ...]
    """Those who were sent the model, sorted."""
    dropped_out: tuple[int, ...]
    """Those of them who never report, sorted."""
    stragglers: tuple[int, ...]
    """Those of the others who ran out of time, sorted."""
    work: Mapping[int, Work]
    """By client, in the order of visits, what those do who report."""

    @property
    def clients(self) -> tuple[int, ...]:
        """Those who report, sorted."""
        return tuple(sorted(self.work))


def drawn_for(scenario: Scenario, sizes: Sequence[int], number: int) -> tuple[int, ...]:
    """The clients asked to take part in round ``number``, sorted; ``sizes`` are their images."""
    fraction, seed, clients = scenario.fraction, scenario.seed, len(sizes)
    if scenario.sampling == "poisson":
        return sample_poisson(clients, fraction, seed=seed, round=number)
    if scenario.sampling == "size":
        return sample_by_size(sizes, fraction, seed=seed, round=number)
    return sample(clients, fraction, seed=seed, round=number)


def participation(
    scenario: Scenario, sizes: Sequence[int], number: int, drawn: Sequence[int]
) -> Participation:
    """What becomes of the clients ``drawn`` for round ``number``, to be visited in that order."""
    everyone = tuple(sorted(drawn))
    lost = {k for k in everyone if _drops_out(scenario, number, k)}
    late = set(_stragglers(scenario, number, everyone)) - lost
    leaves = scenario.stragglers.name == "dropped"
    whole = whole_work(scenario)
    work = {
        k: _part(scenario, sizes[k], number, k) if k in late else whole
        for k in drawn
        if k not in lost and not (leaves and k in late)
    }
    return Participation(
        drawn=everyone,
        dropped_out=tuple(sorted(lost)),
        stragglers=tuple(sorted(late)),
        work=work,
    )


def _drops_out(scenario: Scenario, number: int, client: int) -> bool:
    if scenario.dropout == 0.0:
        return False
    return bool(generator(scenario.seed, "dropout", number, client).random() < scenario.dropout)


def _stragglers(scenario: Scenario, number: int, drawn: tuple[int, ...]) -> list[int]:
    if scenario.stragglers.name == "none":
        return []
    count = rounded(scenario.stragglers["share"] * len(drawn))
    order = generator(scenario.seed, "stragglers", number).permutation(len(drawn))
    return [drawn[place] for place in order[:count]]


def _part(scenario: Scenario, images: int, number: int, client: int) -> Work:
    """The part of its work that a straggler does."""
    whole = whole_work(scenario)
    draw = generator(scenario.seed, "straggling", number, client)
    if whole.steps is None and whole.epochs > 1:
        return Work(epochs=int(draw.integers(1, whole.epochs)))
    steps = whole.count(images, scenario.batch_size)
    if steps < 2:
        return whole
    return Work(epochs=whole.epochs, steps=int(draw.integers(1, steps)))
