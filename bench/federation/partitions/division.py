"""Cutting a line of units into clients, sharing out whole numbers, and filling clients up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.errors import SuiteError
from bench.federation.partitions.units import Units


def divide(
    weight: NDArray[np.int64], targets: NDArray[np.float64] | NDArray[np.int64], *, filled: bool
) -> NDArray[np.int64]:
    """Cuts units that stand in line into parts whose weights are proportional to ``targets``.

    A unit goes to the part in which its middle lies, so every cut is within half a unit of where
    it should be. Units of weight 1 with whole targets are cut exactly.

    Parameters
    ----------
    weight
        (m,) images of the units, in line.
    targets
        (k,) non-negative, not all zero.
    filled
        True moves cuts by as few units as it takes for every part to hold one; needs m >= k.

    Returns
    -------
    (m,) the part of each unit, ascending.
    """
    parts = len(targets)
    reached = np.cumsum(weight)
    if len(weight) == 0:
        return np.empty(0, dtype=np.int64)
    bounds = np.cumsum(targets)[:-1] * (reached[-1] / np.sum(targets))
    ends = np.searchsorted(reached - weight / 2, bounds)
    if filled:
        assert len(weight) >= parts
        step = np.arange(1, parts)
        ends = np.maximum.accumulate(np.maximum(ends - step, 0)) + step
        ends = np.minimum(ends, len(weight) - parts + step)
    lengths = np.diff(np.concatenate(([0], ends, [len(weight)])))
    return np.repeat(np.arange(parts), lengths)


def line(
    units: Units, random: np.random.Generator, by: NDArray[np.generic] | None = None
) -> NDArray[np.int64]:
    """(u,) the units in random order, or in the order of ``by`` (u,) with ties in random order."""
    order = random.permutation(len(units))
    if by is None:
        return order
    return order[np.argsort(by[order], kind="stable")]


def apportion(total: int, share: NDArray[np.float64]) -> NDArray[np.int64]:
    """(k,) whole numbers that sum to ``total``, proportional to ``share`` (k,).

    Largest remainders (Hamilton's method), the earlier if tied.
    """
    # Divided first: what is left of a Dirichlet vector can be so small that total / sum overflows.
    exact = share / share.sum() * total
    whole = np.floor(exact).astype(np.int64)
    left = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return whole


def fill(
    client: NDArray[np.int64],
    units: Units,
    *,
    clients: int,
    least: int,
    random: np.random.Generator,
) -> tuple[NDArray[np.int64], int]:
    """Moves whole units to clients that have fewer than ``least`` images, until none has.

    Each move takes a random unit of the commonest key (by images) from the client that has most
    images; where that would leave the giver with too few, its smallest unit, or else the next
    largest giver. There is no drawing again, so it ends whatever was asked for.

    Returns the assignment (u,) and how many units were moved. Raises SuiteError, saying what
    would be possible, where no such assignment is found.
    """
    sizes = np.bincount(client, weights=units.weight, minlength=clients).astype(np.int64)
    if (sizes >= least).all():
        return client, 0
    if units.images < least * clients:
        raise _too_few(units, clients, least)
    client = client.copy()
    order = random.permutation(len(units))
    stock: dict[int, list[int]] = {}
    givers = sizes.copy()
    moved = 0
    for taker in np.flatnonzero(sizes < least):
        while sizes[taker] < least:
            giver = int(np.argmax(givers))
            if givers[giver] <= least:
                raise _too_few(units, clients, least)
            if giver not in stock:
                stock[giver] = _stock(order[client[order] == giver], units)
            given = _give(stock[giver], units.weight, int(sizes[giver]) - least)
            if given is None:
                givers[giver] = 0
                continue
            client[given] = taker
            sizes[giver] -= units.weight[given]
            sizes[taker] += units.weight[given]
            givers[giver] = sizes[giver]
            moved += 1
    return client, moved


def _stock(members: NDArray[np.int64], units: Units) -> list[int]:
    """A giver's units, those of its commonest key last, otherwise in the order given."""
    number = np.bincount(
        units.key[members], weights=units.weight[members], minlength=len(units.keys)
    )
    key = units.key[members]
    return [int(u) for u in members[np.lexsort((-key, number[key]))]]


def _give(stock: list[int], weight: NDArray[np.int64], spare: int) -> int | None:
    """Takes out the last unit, or the smallest if that is too large; None if all are."""
    if stock and weight[stock[-1]] <= spare:
        return stock.pop()
    small = min(range(len(stock)), key=lambda i: (weight[stock[i]], i), default=None)
    if small is None or weight[stock[small]] > spare:
        return None
    return stock.pop(small)


def _too_few(units: Units, clients: int, least: int) -> SuiteError:
    largest = int(units.weight.max())
    safe = max(units.images // clients - largest, 1)
    return SuiteError(
        f"{clients} clients of at least {least} images each cannot be made",
        expected=f"min_size of at most {safe}, or fewer clients: {units.images:,} images over "
        f"{clients} clients are {units.images // clients} each, and no {units.noun}, of which "
        f"one has {largest}, is divided",
        found=f"min_size {least} with {clients} clients",
        mend="lower min_size or clients",
    )
