"""Rows of a published table, to be subtracted from scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.baselines import AUROC, AVERAGE, Baseline, Row
from bench.errors import UsageError, did_you_mean
from bench.observations import COMPETITION

AT_ONCE = 6
"""So many rows of a table fit beside the scores; of a longer one, rows must be named."""

FULL_DECIMALS = 4
"""How a figure is written that was published at full precision."""

NAMED = 8
"""How many methods a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One method's published AUROCs."""

    name: str
    values: Mapping[str, float]
    """Per condition, as a fraction; the mean is not among them."""
    mean: float | None
    """Over the competition tasks; None where the table averages over others, or not at all."""
    decimals: int
    """With how many the figures are written, as they were printed."""


def references(baseline: Baseline, methods: Sequence[str]) -> tuple[Reference, ...]:
    """The rows of those methods, or all rows of a short table.

    Raises UsageError where the table has no AUROC, no such method, or too many rows to show all.
    """
    rows = [row for row in baseline.rows if any(v.value is not None for v in row.of(AUROC))]
    if not rows:
        raise UsageError(
            f"the table '{baseline.id}' has no AUROC to subtract",
            found=", ".join(baseline.metrics),
            mend="`bench baselines` lists what each table holds",
        )
    if methods:
        rows = [_named(baseline, rows, method) for method in methods]
    elif len(rows) > AT_ONCE:
        raise UsageError(
            f"the table '{baseline.id}' has {len(rows)} rows",
            expected=f"--against-row METHOD, up to {AT_ONCE} times",
            found=_listed(rows),
        )
    return tuple(_reference(baseline, row) for row in rows)


def _named(baseline: Baseline, rows: Sequence[Row], method: str) -> Row:
    found = [row for row in rows if row.method.casefold() == method.casefold()]
    if not found:
        raise UsageError(
            f"the table '{baseline.id}' has no row called '{method}'",
            expected=_listed(rows),
            mend=did_you_mean(method, [row.method for row in rows]),
        )
    return found[0]


def _listed(rows: Sequence[Row]) -> str:
    names = ", ".join(row.method for row in rows[:NAMED])
    return names if len(rows) <= NAMED else f"{names} and {len(rows) - NAMED} more"


def _reference(baseline: Baseline, row: Row) -> Reference:
    printed = {v.condition: v for v in row.of(AUROC) if v.value is not None}
    values = {c: v.value for c, v in printed.items() if v.value is not None and c != AVERAGE}
    over = baseline.mean_over or tuple(values)
    mean = None
    if set(over) == set(COMPETITION):
        if AVERAGE in printed:
            mean = printed[AVERAGE].value
        elif set(COMPETITION) <= set(values):
            mean = sum(values[task] for task in COMPETITION) / len(COMPETITION)
    places = [v.decimals for v in printed.values()]
    return Reference(
        name=row.method,
        values=values,
        mean=mean,
        decimals=max((p for p in places if p is not None), default=FULL_DECIMALS),
    )


def comparability(baseline: Baseline, level: str, n: int) -> list[str]:
    """What was published, and what speaks against subtracting it."""
    about = [
        f"the {baseline.split} split" if baseline.split else None,
        f"n {baseline.n:,}" if baseline.n else None,
        f"scored by {baseline.level}" if baseline.level else None,
    ]
    citation = baseline.citation
    notes = [
        f"Subtracted: {baseline.id}, {citation.identifier}, {citation.table}"
        + "".join(f", {part}" for part in about if part)
        + "."
    ]
    if baseline.n is not None and baseline.n != n:
        notes.append(
            f"Not the same studies: {baseline.n:,} were published on and {n:,} are scored here, so "
            "a difference may be one of the studies."
        )
    if baseline.level is not None and baseline.level != level:
        notes.append(f"Published by {baseline.level}, scored here by {level}: not comparable.")
    return notes
