"""Comparisons as text, in every format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.comparison.rows import Comparison
from bench.comparison.tables import comparison_table, flat_table, matrix
from bench.report.render import render, render_json, render_many
from bench.report.table import Table


def tables_of(comparisons: Sequence[Comparison]) -> list[Table]:
    """A table a run, and with several runs the matrix of their differences."""
    tables = [comparison_table(comparison) for comparison in comparisons]
    return [*tables, matrix(comparisons)] if len(comparisons) > 1 else tables


def write(comparisons: Sequence[Comparison], form: str, **looks: Any) -> str:
    """``table``, ``markdown``, ``latex`` and ``html`` for people; ``csv`` and ``json`` flat.

    ``looks`` are :func:`bench.report.render.render`'s width and colour.
    """
    if form == "json":
        extra = [
            {"run": c.run, "against": c.against, "split": c.split, "notes": list(c.notes)}
            for c in comparisons
        ]
        return render_json(flat_table(comparisons), comparisons=extra)
    if form == "csv":
        return render(flat_table(comparisons), "csv")
    return render_many(tables_of(comparisons), form, **looks)
