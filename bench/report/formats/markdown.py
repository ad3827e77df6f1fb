"""Tables as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.report.formats import SYNTHETIC
from bench.report.table import Table

_SPECIAL = re.compile(r"([\\`*|<~])|(?<!\w)_|_(?!\w)")
"""Characters that would start something; an underscore inside a word starts nothing."""


def write(tables: Sequence[Table]) -> str:
    """The tables one below the other, each with its heading and notes."""
    return "\n".join(_table(table) for table in tables)


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(lambda m: "\\" + m.group(), " ".join(text.split()))


def _table(table: Table) -> str:
    blocks = []
    if table.title:
        blocks.append(f"### {escape(table.title)}")
    if table.synthetic:
        blocks.append(f"> **{SYNTHETIC}**")
    if table.notes:
        blocks.append("\n".join(f"- {escape(note)}" for note in table.notes))
    rules = ["---:" if column.align == "right" else ":---" for column in table.columns]
    lines = [_line([escape(column.title) for column in table.columns]), _line(rules)]
    lines += [_line([escape(cell) for cell in row]) for row in table.cells()]
    blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
