"""Tables for a terminal: never wider than it, unless a number would have to be broken."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from io import StringIO

from rich.box import HORIZONTALS
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.report.formats import SYNTHETIC
from bench.report.table import Table

STYLES = {"good": "green", "bad": "red", "dim": "dim"}
GAP = 3
"""Cells between two columns: padding on either side of a divider."""
EDGES = 1
"""What the two edges need beyond one gap a column."""
WIDEST_WORD = 24
"""A longer word, such as a path or a hash, may be folded; shorter ones never are."""
UNBOUNDED = 100_000
"""The width of a destination that has none, such as a pipe."""

_NUMBER = re.compile(r"[\[(]?[+\-−±<>≤≥~]?\.?\d")


def write(tables: Sequence[Table], *, width: int | None, color: bool) -> str:
    """The tables one below the other. ``width`` None is a destination without a width."""
    buffer = StringIO()
    console = Console(
        file=buffer,
        width=width or UNBOUNDED,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for i, table in enumerate(tables):
        if i:
            console.print()
        _print(console, table, width)
    lines = (line.rstrip() for line in buffer.getvalue().splitlines())
    return "\n".join(lines) + "\n"


def _print(console: Console, table: Table, width: int | None) -> None:
    if table.title:
        _paragraph(console, table.title, width, style="bold")
    if table.synthetic:
        _paragraph(console, SYNTHETIC.upper(), width, style="bold yellow")
    for note in table.notes:
        _paragraph(console, note, width)
    cells = table.cells()
    for i, band in enumerate(bands(table, cells, width)):
        if i:
            console.print()
        needed = _needed(table, cells, band)
        console.width = max(width or UNBOUNDED, needed)
        console.print(_band(table, cells, band, console.width))
    if not table.rows:
        console.print("(no rows)")


def _paragraph(console: Console, text: str, width: int | None, style: str = "") -> None:
    """A sentence, wrapped at words where there is a width."""
    lines = textwrap.wrap(text, max(width, 20)) if width else [text]
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def bands(table: Table, cells: Sequence[Sequence[str]], width: int | None) -> list[list[int]]:
    """The columns of each piece of a table that is too wide for one; the leading ones start all.

    A piece is wider than ``width`` only where the leading columns and one other already are.
    """
    every = list(range(len(table.columns)))
    lead = every[: table.lead]
    if width is None or _needed(table, cells, every) <= width or len(every) < len(lead) + 2:
        return [every]
    pieces: list[list[int]] = []
    piece = lead
    for column in every[len(lead) :]:
        if len(piece) > len(lead) and _needed(table, cells, [*piece, column]) > width:
            pieces.append(piece)
            piece = lead
        piece = [*piece, column]
    return [*pieces, piece]


def _needed(table: Table, cells: Sequence[Sequence[str]], band: Sequence[int]) -> int:
    """Terminal cells below which a number or a word of the band's columns would be broken."""
    return sum(_least(table, cells, column) + GAP for column in band) + EDGES


def _least(table: Table, cells: Sequence[Sequence[str]], column: int) -> int:
    """The narrowest a column may be."""
    texts = [table.columns[column].title, *(row[column] for row in cells)]
    if _is_whole(table, cells, column):
        return max(cell_len(line) for text in texts for line in text.split("\n"))
    words = (cell_len(word) for text in texts for word in text.split())
    return min(max(words, default=1), WIDEST_WORD)


def _is_whole(table: Table, cells: Sequence[Sequence[str]], column: int) -> bool:
    """Whether the column's cells may not be broken: it is right-aligned, or holds numbers."""
    declared = table.columns[column]
    if declared.align == "right":
        return True
    filled = [row[column] for row in cells if row[column] not in (declared.missing, "")]
    return bool(filled) and all(_NUMBER.match(text) for text in filled)


def _natural(table: Table, cells: Sequence[Sequence[str]], column: int) -> int:
    """The width at which nothing in the column is wrapped."""
    texts = [table.columns[column].title, *(row[column] for row in cells)]
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def share_out(least: Sequence[int], natural: Sequence[int], room: int) -> list[int]:
    """Widths between the two that fill the room: what is left over the least is shared evenly.

    Rich's own shrinking forgets the least widths and then cuts what sticks out, so that text
    would be lost.
    """
    widths = list(least)
    left = room - sum(widths)
    while left > 0 and (hungry := [i for i, w in enumerate(widths) if w < natural[i]]):
        for i in hungry[:left]:
            widths[i] += 1
        left -= len(hungry[:left])
    return widths


def _band(
    table: Table, cells: Sequence[Sequence[str]], band: Sequence[int], width: int
) -> RichTable:
    shown = RichTable(box=HORIZONTALS, pad_edge=True, header_style="bold", show_edge=True)
    widths = share_out(
        [_least(table, cells, column) for column in band],
        [_natural(table, cells, column) for column in band],
        width - GAP * len(band) - EDGES,
    )
    for column, cell_width in zip(band, widths, strict=True):
        declared = table.columns[column]
        shown.add_column(
            Text(declared.title),
            justify=declared.align,
            no_wrap=_is_whole(table, cells, column),
            overflow="fold",
            width=cell_width,
        )
    for index, (row, texts) in enumerate(zip(table.rows, cells, strict=True)):
        if index and index in table.rule_before:
            shown.add_section()
        styled = []
        for column in band:
            emphasis = table.columns[column].emphasis
            style = STYLES.get(emphasis(row) or "", "") if emphasis else ""
            styled.append(Text(texts[column], style=style))
        shown.add_row(*styled)
    return shown
