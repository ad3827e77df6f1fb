"""What a round amounted to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.federation.participation import Participation
from bench.training.trainer import LocalResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """One round's training and traffic."""

    round: int
    clients: tuple[int, ...]
    """The clients that trained and reported, sorted; client 0 stands for the pool of a centralised
    run."""
    loss: float
    """Mean training loss over the examples; NaN where no client took part."""
    examples: int
    """Images passed through training, each epoch counted."""
    steps: int
    """Local updates, all clients together."""
    seconds: float
    """Spent in training; the rest of the round is left out. Of several processes, the one that
    trained longest."""
    images_per_second: float
    """``examples / seconds``; 0 where nothing was trained."""
    bytes_up: int
    """Sent by clients: what the strategy shares, as fp32 or compressed; scalars and counters are
    left out."""
    bytes_down: int
    """Sent to clients, those who never reported among them."""
    drawn: tuple[int, ...] = ()
    """The clients that were sent the model, sorted."""
    dropped_out: tuple[int, ...] = ()
    """Those of them who never reported."""
    stragglers: tuple[int, ...] = ()
    """Those of the others who ran out of time."""
    epsilon: float | None = None
    """ε of (ε, δ)-differential privacy spent so far, where the strategy accounts for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes sent by, and to, all clients of a round together."""

    up: int = 0
    down: int = 0


def round_result(
    number: int,
    clients: tuple[int, ...],
    main: Sequence[LocalResult],
    beside: Sequence[LocalResult],
    traffic: Traffic,
    epsilon: float | None = None,
    taking: Participation | None = None,
    seconds: float | None = None,
) -> RoundResult:
    """Adds up trainings; the loss is that of ``main``, in any order the same.

    ``seconds`` is how long they took where they did not all follow one another.
    """
    work = [*main, *beside]
    weight = sum(r.examples for r in main)
    loss = math.fsum(r.loss * r.examples for r in main) / weight if weight else math.nan
    examples = sum(r.examples for r in work)
    if seconds is None:
        seconds = math.fsum(r.seconds for r in work)
    return RoundResult(
        round=number,
        clients=clients,
        loss=loss,
        examples=examples,
        steps=sum(r.steps for r in work),
        seconds=seconds,
        images_per_second=examples / seconds if seconds > 0 else 0.0,
        bytes_up=traffic.up,
        bytes_down=traffic.down,
        drawn=clients if taking is None else taking.drawn,
        dropped_out=() if taking is None else taking.dropped_out,
        stragglers=() if taking is None else taking.stragglers,
        epsilon=epsilon,
    )
