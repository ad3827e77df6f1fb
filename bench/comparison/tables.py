"""Comparisons as tables: one a run, in the form the project began with, and a matrix of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.comparison.rows import ABOVE, AVERAGE, BELOW, Comparison
from bench.report.table import Column, Table, decimals, interval

PLACES = 3
MATRIX_NOTE = "each cell is ours - theirs; – where one of the two is undefined or not published"


def comparison_table(comparison: Comparison) -> Table:
    """Condition, ours with its interval, theirs, difference, verdict; the average last."""
    rows = [row.json() | {"theirs_text": _theirs(row.json())} for row in comparison.rows]
    average = [i for i, row in enumerate(rows) if row["condition"] == AVERAGE]
    return Table(
        title=comparison.title,
        columns=_columns(comparison, rows),
        rows=tuple(rows),
        notes=comparison.notes,
        rule_before=tuple(average),
        synthetic=comparison.synthetic,
    )


def _columns(comparison: Comparison, rows: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    other = "other run" if comparison.paired else "published"
    columns = [
        Column(key="condition", title="Condition"),
        _number("ours", "AUROC (ours)", decimals(PLACES)),
    ]
    if any("ours_sd" in row for row in rows):
        columns.append(_number("ours_sd", "± sd over seeds", decimals(PLACES)))
    columns += [
        _number("ours_ci", "95 % interval", interval(PLACES)),
        _number("theirs_text", f"AUROC ({other})", str),
    ]
    if any(row["theirs_ci"] is not None for row in rows):
        columns.append(_number("theirs_ci", "95 % interval", interval(PLACES)))
    columns.append(
        _number("difference", "Difference", decimals(PLACES, signed=True), coloured=True)
    )
    if comparison.paired:
        columns.append(_number("p", "p (Holm)", _p_value))
    columns.append(Column(key="verdict", title="Verdict", emphasis=_emphasis))
    return tuple(columns)


def _number(key: str, title: str, write: Any, *, coloured: bool = False) -> Column:
    return Column(
        key=key,
        title=title,
        write=write,
        align="right",
        emphasis=_emphasis if coloured else None,
    )


def _theirs(row: Mapping[str, Any]) -> str | None:
    """The other figure with the decimals it was printed with."""
    value = row["theirs"]
    return None if value is None else f"{value:.{row['theirs_decimals']}f}"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _emphasis(row: Mapping[str, Any]) -> str | None:
    return {ABOVE: "good", BELOW: "bad"}.get(row["verdict"], "dim")


def matrix(comparisons: Sequence[Comparison]) -> Table:
    """Runs down, conditions across, differences in the cells."""
    conditions = dict.fromkeys(
        row.condition for comparison in comparisons for row in comparison.rows
    )
    order = sorted(conditions, key=lambda name: name == AVERAGE)
    rows = []
    for comparison in comparisons:
        row: dict[str, Any] = {"run": comparison.run, "against": comparison.against}
        row |= {r.condition: r.difference for r in comparison.rows}
        rows.append(row)
    columns = (
        Column(key="run", title="Run"),
        *(_number(name, name, decimals(PLACES, signed=True)) for name in order),
    )
    against = ", ".join(dict.fromkeys(c.against for c in comparisons))
    return Table(
        title=f"Differences from {against}",
        columns=columns,
        rows=tuple(rows),
        notes=(MATRIX_NOTE,),
        synthetic=any(c.synthetic for c in comparisons),
    )


def flat_table(comparisons: Sequence[Comparison]) -> Table:
    """Every row of every comparison in one table, for formats that are read by programs."""
    rows = tuple(
        row.json() | {"against": comparison.against, "split": comparison.split}
        for comparison in comparisons
        for row in comparison.rows
    )
    keys = (
        "run", "split", "against", "condition", "ours", "ours_low", "ours_high", "theirs",
        "theirs_low", "theirs_high", "difference", "p", "verdict",
    )  # fmt: skip
    bounds = ("ours", "theirs")
    spread = [
        {f"{b}_{end}": (row[f"{b}_ci"] or (None, None))[i] for b in bounds for i, end in _ENDS}
        for row in rows
    ]
    notes = dict.fromkeys(
        f"{comparison.run}: {note}" for comparison in comparisons for note in comparison.notes
    )
    return Table(
        title="Comparison",
        columns=tuple(Column(key=key, title=key, write=_plain, missing="") for key in keys),
        rows=tuple(row | more for row, more in zip(rows, spread, strict=True)),
        notes=tuple(notes),
        synthetic=any(c.synthetic for c in comparisons),
    )


_ENDS = ((0, "low"), (1, "high"))


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
