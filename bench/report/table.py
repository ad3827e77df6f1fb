"""One table object, whose cells are formatted once and shown in every format."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: where its value stands in a row, how it is headed and how it is written."""

    key: str
    title: str
    write: Callable[[Any], str] = str
    """Turns a value that is not None into its text; None is always written as ``missing``."""
    align: Literal["left", "right"] = "left"
    missing: str = "–"
    emphasis: Callable[[Mapping[str, Any]], str | None] | None = None
    """From the row to ``good``, ``bad``, ``dim`` or None; terminals and HTML colour by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns, rows of plain values, and the notes that must be read with them."""

    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    """JSON-able values by column key; keys without a column appear in JSON only."""
    title: str = ""
    notes: tuple[str, ...] = ()
    """Sentences printed above the table in every format."""
    rule_before: tuple[int, ...] = ()
    """Row indices with a rule above them, such as an average's."""
    synthetic: bool = False
    """Every format says that the data is synthetic."""
    lead: int = 1
    """Columns that say what a row is: every piece of a table too wide for a terminal has them."""

    def cells(self) -> list[list[str]]:
        """The written cells, row by row, the same for every text format."""
        return [
            [c.missing if row.get(c.key) is None else c.write(row[c.key]) for c in self.columns]
            for row in self.rows
        ]


def decimals(places: int, *, signed: bool = False) -> Callable[[float], str]:
    """A writer of numbers with that many decimals; NaN is ``undefined``, never a number."""
    spec = f"{'+' if signed else ''}.{places}f"

    def write(value: float) -> str:
        return "undefined" if math.isnan(value) else format(value, spec)

    return write


def interval(places: int) -> Callable[[Sequence[float]], str]:
    """A writer of (low, high) pairs as ``[0.812, 0.901]``."""

    def write(value: Sequence[float]) -> str:
        return f"[{value[0]:.{places}f}, {value[1]:.{places}f}]"

    return write
