"""Tables as one self-contained page: no script, no font and no address outside it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from bench.report.formats import SYNTHETIC
from bench.report.table import Table

if TYPE_CHECKING:
    from jinja2 import Environment, Template


def write(tables: Sequence[Table], *, title: str | None = None) -> str:
    """The page; everything from a table is escaped. ``title`` None takes the first table's.

    That data is synthetic stands above all of it, and above each such table where others are not.
    """
    heading = title or next((table.title for table in tables if table.title), "bench")
    made = [table.synthetic for table in tables]
    return template("tables.html").render(
        heading=heading,
        synthetic=SYNTHETIC if any(made) else None,
        mixed=any(made) and not all(made),
        tables=[view(table) for table in tables],
    )


def view(table: Table) -> dict[str, object]:
    """What the macro in ``table.html`` needs to know of a table."""
    rows = []
    for index, (row, texts) in enumerate(zip(table.rows, table.cells(), strict=True)):
        cells = [
            {
                "text": text,
                "align": column.align,
                "emphasis": (column.emphasis(row) if column.emphasis else None) or "",
            }
            for column, text in zip(table.columns, texts, strict=True)
        ]
        rows.append({"cells": cells, "rule": index > 0 and index in table.rule_before})
    return {
        "title": table.title,
        "notes": table.notes,
        "synthetic": SYNTHETIC if table.synthetic else None,
        "columns": table.columns,
        "rows": rows,
    }


def template(name: str) -> Template:
    """A template of ``bench/report/templates``; whatever is put into it is escaped."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
