"""The end of a round's visits: what each member of a team gathered becomes what one would have.

One message from each member, then one exchange of all vectors together. Sums are sums of integers
(:mod:`bench.federation.exact_sum`), plain sums are added exactly, and the rest is a maximum or is
kept by client, so the result does not depend on who visited whom.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.federation.client_update import Gathering
from bench.federation.exact_sum import ExactSum
from bench.federation.team import Team, together
from bench.training.trainer import LocalResult


def reduce(
    team: Team,
    work: Callable[[], Any],
    sums: Sequence[ExactSum],
    *,
    counters: Tensor,
    stack: Tensor | None = None,
) -> list[Any]:
    """Every member's ``work``, whose results (JSON) are returned by rank.

    Then ``sums`` hold the terms of all members, ``counters`` (R,) int64 the largest values, and
    ``stack`` (m, P) fp32 every row, of which each member filled its own and left the rest zero.
    Raises what :func:`~bench.federation.team.together` does, and in every member OutOfRange.
    """
    if team.size == 1:
        return [work()]

    def part() -> dict[str, Any]:
        result = work()
        parts = [total.part() for total in sums]
        return {"result": result, "sums": parts, "counters": counters.tolist()}

    parts = together(team, part)
    tensors = [total.integers for total in sums]
    team.add_up(tensors if stack is None else [*tensors, stack.view(torch.int32)])
    for index, total in enumerate(sums):
        total.merge([part["sums"][index] for part in parts])
    largest = torch.tensor([part["counters"] for part in parts], dtype=torch.int64).amax(dim=0)
    counters.copy_(largest)
    return [part["result"] for part in parts]


def told(gathering: Gathering) -> dict[str, Any]:
    """What a member's visits came to, as JSON."""
    return {
        "scalars": gathering.scalars,
        "main": {str(client): _figures(result) for client, result in gathering.main.items()},
        "beside": [_figures(result) for result in gathering.beside],
    }


def join(gathering: Gathering, parts: Sequence[Mapping[str, Any]]) -> float:
    """Makes ``gathering`` what all members' visits came to; returns the seconds of training of the
    member that took longest."""
    longest = 0.0
    scalars: dict[str, list[float]] = {}
    main: dict[int, LocalResult] = {}
    beside: list[LocalResult] = []
    for part in parts:
        for name, terms in part["scalars"].items():
            scalars.setdefault(name, []).extend(terms)
        own = {int(client): _result(figures) for client, figures in part["main"].items()}
        others = [_result(figures) for figures in part["beside"]]
        main |= own
        beside += others
        longest = max(longest, math.fsum(r.seconds for r in [*own.values(), *others]))
    gathering.scalars, gathering.main, gathering.beside = scalars, main, beside
    return longest


def _figures(result: LocalResult) -> list[float]:
    return [result.examples, result.steps, result.loss, result.seconds]


def _result(figures: Sequence[Any]) -> LocalResult:
    """Without the optimiser's state, which stays where it is."""
    examples, steps, loss, seconds = figures
    return LocalResult(
        examples=examples, steps=steps, loss=loss, seconds=seconds, optimizer_state={}
    )
