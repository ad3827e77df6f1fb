"""Partitions by what is known of a patient or an image's origin: ``attribute`` and ``natural``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.errors import SuiteError
from bench.federation.partitions.division import apportion, divide, line
from bench.federation.partitions.draw import Draw
from bench.federation.partitions.units import ATTRIBUTES, Attribute, Groups, Units

NEGLIGIBLE = 0.01
"""A group with a smaller share of the units gets no client of its own: CheXpert has one patient
of unknown sex and seventeen images marked LL or RL, which are not sites."""


def attribute(
    units: Units, clients: int, random: np.random.Generator, *, by: str, strictness: float
) -> Draw:
    """Clients differ by an attribute of their patients, one of :data:`units.ATTRIBUTES`.

    ``Sex`` and ``AP/PA`` make *groups*: a patient's commonest value, the alphabetically first if
    tied. Groups are given clients in proportion to their patients, at
    least one each, and each group's patients are divided evenly over its clients. ``Age`` (a
    patient's mean) and ``Frontal/Lateral`` (its share of lateral images) make an *ordering*,
    which is cut into parts of equal numbers of images.

    ``strictness`` is the share of patients placed in that way, at random; the others are dealt
    out evenly, so 1 is exact and 0 is IID. Patients without a value and groups of less than 1 %
    of the patients are always dealt out evenly.

    Raises SuiteError where there are more groups than clients, or all patients are alike.
    """
    known = units.attributes[by]
    _check_varies(units, by, known)
    ranked = np.empty(len(units), dtype=np.int64)
    ranked[random.permutation(len(units))] = np.arange(len(units))
    free = ranked < round((1 - strictness) * len(units))
    if isinstance(known, Groups):
        client, unplaced, text = _grouped(units, clients, random, by, known, free)
    else:
        unplaced = np.isnan(known.value)
        placed = _only(line(units, random, by=known.value), ~(free | unplaced))
        client = np.empty(len(units), dtype=np.int64)
        client[placed] = divide(units.weight[placed], np.ones(clients), filled=False)
        text = f"balanced sizes; ordered by {by} ({known.meaning})"
    dealt = _only(line(units, random), free | unplaced)
    client[dealt] = divide(units.weight[dealt], np.ones(clients), filled=False)
    text += f"; strictness {strictness:g}"
    if unplaced.any():
        text += f"; {int(unplaced.sum()):,} {units.noun}s of no or a rare value dealt out evenly"
    return Draw(client=client, text=text)


def _check_varies(units: Units, by: str, known: Attribute) -> None:
    values = known.code[known.code >= 0] if isinstance(known, Groups) else known.value
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) < 2:
        what = known.names[0] if isinstance(known, Groups) and known.names else "the same or blank"
        raise SuiteError(
            f"{by} does not tell {units.noun}s apart",
            expected=f"two or more values of {by} among the {units.noun}s",
            found=f"all {len(units):,} are {what}",
            mend="go by another attribute",
        )


def _only(order: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    return order[mask[order]]


def _grouped(
    units: Units,
    clients: int,
    random: np.random.Generator,
    by: str,
    known: Groups,
    free: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.bool_], str]:
    """(clients of the placed, who cannot be placed, what was done)."""
    number = np.bincount(known.code[known.code >= 0], minlength=len(known.names))
    kept = np.flatnonzero(number >= NEGLIGIBLE * len(units))
    unplaced = ~np.isin(known.code, kept)
    if len(kept) < 2:
        raise SuiteError(
            f"{by} has no two groups of {NEGLIGIBLE:.0%} of the {units.noun}s or more",
            expected="groups large enough to be clients",
            found=f"{len(known.names)} groups, the largest of {number.max():,} {units.noun}s",
            mend="go by another attribute, or use 'natural' for one client per value",
        )
    if len(kept) > clients:
        raise SuiteError(
            f"there are too few clients for the groups of {by}",
            expected=f"at least {len(kept)} clients, one for each of "
            + ", ".join(f"{known.names[g]} ({number[g]:,} {units.noun}s)" for g in kept),
            found=f"clients: {clients}",
            mend=f"raise clients to {len(kept)}",
        )
    share = 1 + apportion(clients - len(kept), _excess(number[kept], clients))
    first = np.cumsum(share) - share
    order = line(units, random)
    client = np.empty(len(units), dtype=np.int64)
    for group, start, holders in zip(kept, first, share, strict=True):
        members = _only(order, (known.code == group) & ~free)
        client[members] = start + divide(units.weight[members], np.ones(holders), filled=False)
    spans = ", ".join(
        f"{known.names[g]} {_span(int(start), int(holders))}"
        for g, start, holders in zip(kept, first, share, strict=True)
    )
    return client, unplaced, f"sizes as they fall; clients by {by}: {spans}"


def _excess(number: NDArray[np.int64], clients: int) -> NDArray[np.float64]:
    """What each group is due beyond the one client it has anyway."""
    due = np.maximum(number * (clients / number.sum()) - 1, 0.0)
    return due if due.sum() > 0 else number.astype(np.float64)


def _span(start: int, holders: int) -> str:
    return f"{start}" if holders == 1 else f"{start}–{start + holders - 1}"


def natural(units: Units, clients: int, random: np.random.Generator, *, column: str) -> Draw:
    """One client for each value of a column: ``site``, ``Sex``, ``AP/PA``, ``patient``, …

    Clients stand in the alphabetical order of the values. A patient with several values stands
    with its commonest. Nothing is drawn.

    Raises SuiteError where the values are not as many as the clients, or some patient has none.
    """
    known: Attribute = units.attributes[column]
    if not isinstance(known, Groups):
        raise SuiteError(
            f"{column} puts {units.noun}s in an order and makes no groups",
            expected="a column of names, such as site or Sex",
            found=f"column: {column}",
            mend=f"use 'attribute' with by: {column}, which cuts the order into clients",
        )
    without = int((known.code < 0).sum())
    if without:
        deal = f", or use 'attribute' with by: {column}, which deals them out evenly"
        raise SuiteError(
            f"{without:,} {units.noun}s have no {column}",
            expected=f"a value of {column} for each {units.noun}",
            found=f"{len(units) - without:,} of {len(units):,}",
            mend="fill the column" + (deal if column in ATTRIBUTES else ""),
        )
    if len(known.names) != clients:
        shown = ", ".join(known.names[:8]) + (", …" if len(known.names) > 8 else "")
        raise SuiteError(
            f"{column} has {len(known.names)} values for {clients} clients",
            expected=f"clients: {len(known.names)}",
            found=f"clients: {clients}; values {shown}",
            mend=f"set clients to {len(known.names)}: -s clients={len(known.names)}",
        )
    text = f"sizes as they are; one client for each value of {column}"
    if known.mixed:
        text += f"; {known.mixed:,} {units.noun}s of several values stand with their commonest"
    return Draw(client=known.code, text=text, names=known.names)
