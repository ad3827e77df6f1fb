"""Tables as CSV (RFC 4180, with ``\\n``): a header, then the cells as they are written elsewhere.

The first line is the header, so that every reader of CSV reads it; notes have no place in such a
file and are left to whoever shows it (``render.show`` prints them for people). That the data is
synthetic is never left out: a last column says so in every row.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from bench.report.table import Table


def write(tables: Sequence[Table]) -> str:
    """One table as it is; several each under its title, with a blank line between."""
    parts = []
    for table in tables:
        buffer = StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if len(tables) > 1 and table.title:
            writer.writerow([table.title])
        extra = (["Data"], ["synthetic data"]) if table.synthetic else ([], [])
        writer.writerow([column.title for column in table.columns] + extra[0])
        writer.writerows(row + extra[1] for row in table.cells())
        parts.append(buffer.getvalue())
    return "\n".join(parts)
