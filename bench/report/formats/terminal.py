"""Tables for a terminal: never wider than it, unless a number would have to be broken."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

from bench.report.formats import SYNTHETIC
from bench.report.table import Table

STYLES = {"good": "32", "bad": "31", "dim": "2", "title": "1", "warning": "1;33"}
"""ECMA-48 codes: green, red, faint, bold and bold yellow."""
RULE = "─"
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
    pages = ("\n".join(_page(table, width, color)) for table in tables)
    return "\n\n".join(pages) + "\n"


def _page(table: Table, width: int | None, color: bool) -> Iterator[str]:
    """The lines of one table with what stands above it."""
    if table.title:
        yield from _paragraph(table.title, width, "title" if color else None)
    if table.synthetic:
        yield from _paragraph(SYNTHETIC.upper(), width, "warning" if color else None)
    for note in table.notes:
        yield from _paragraph(note, width)
    cells = table.cells()
    for i, band in enumerate(bands(table, cells, width)):
        if i:
            yield ""
        yield from _band(table, cells, band, width, color)
    if not table.rows:
        yield "(no rows)"


def _paragraph(text: str, width: int | None, style: str | None = None) -> Iterator[str]:
    """A sentence, wrapped at words where there is a width."""
    for line in textwrap.wrap(text, max(width, 20)) if width else [text]:
        yield _styled(line.rstrip(), style)


def _wide(text: str) -> int:
    """Terminal cells; most texts need no look at each character."""
    return len(text) if text.isascii() and text.isprintable() else cell_len(text)


def _styled(text: str, style: str | None) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and text else text


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
    """The narrowest a column may be; its heading may always be broken between words."""
    title, texts = table.columns[column].title, [row[column] for row in cells]
    whole = _is_whole(table, cells, column)
    words = (word for text in [title, *(texts if not whole else ())] for word in text.split())
    least = min(max(map(_wide, words), default=1), WIDEST_WORD)
    if not whole:
        return least
    return max([least, *(_wide(line) for text in texts for line in text.split("\n"))])


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
    return max(_wide(line) for text in texts for line in text.split("\n"))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a column stands in a band."""

    column: int
    width: int
    right: bool

    def lines(self, text: str, style: str | None) -> list[str]:
        """The cell, broken where it does not fit, each line as wide as the column."""
        if "\n" not in text and (blank := self.width - _wide(text)) >= 0:
            return [self._padded(text, blank, style)]
        broken = text.split("\n")
        if any(_wide(line) > self.width for line in broken):
            broken = [part for line in broken for part in _broken(line, self.width)]
        return [self._padded(line, self.width - _wide(line), style) for line in broken]

    def _padded(self, line: str, blank: int, style: str | None) -> str:
        line = _styled(line, style)
        return " " * blank + line if self.right else line + " " * blank


def _broken(line: str, width: int) -> Iterator[str]:
    """The line broken at spaces, and within words that are wider than ``width``."""
    held = ""
    for word in line.split():
        joined = f"{held} {word}" if held else word
        if _wide(joined) <= width:
            held = joined
            continue
        if held:
            yield held
        *whole, held = chop_cells(word, width)
        yield from whole
    yield held


def _band(
    table: Table,
    cells: Sequence[Sequence[str]],
    band: Sequence[int],
    width: int | None,
    color: bool,
) -> Iterator[str]:
    """The lines of one piece of a table, with a rule above, below and under the headings."""
    natural = [_natural(table, cells, column) for column in band]
    least = [_least(table, cells, column) for column in band]
    room = sum(natural) if width is None else width - GAP * len(band) - EDGES
    widths = share_out(least, natural, room)
    places = [
        _Place(column=column, width=cells_wide, right=table.columns[column].align == "right")
        for column, cells_wide in zip(band, widths, strict=True)
    ]
    rule = " " + RULE * (sum(widths) + GAP * len(band) - 1)
    yield rule
    title = "title" if color else None
    headings = [p.lines(table.columns[p.column].title, title) for p in places]
    tallest = max(map(len, headings))
    yield from _row(
        [
            [" " * place.width] * (tallest - len(lines)) + lines
            for lines, place in zip(headings, places, strict=True)
        ],
        places,
    )
    yield rule
    emphases = [(p, table.columns[p.column].emphasis if color else None) for p in places]
    for index, (row, texts) in enumerate(zip(table.rows, cells, strict=True)):
        if index and index in table.rule_before:
            yield rule
        yield from _row(
            [p.lines(texts[p.column], style(row) if style else None) for p, style in emphases],
            places,
        )
    yield rule


def _row(written: Sequence[Sequence[str]], places: Sequence[_Place]) -> Iterator[str]:
    """The lines of a row; a cell of fewer lines than another ends in blank ones."""
    for number in range(max(map(len, written))):
        parts = [
            lines[number] if number < len(lines) else " " * place.width
            for lines, place in zip(written, places, strict=True)
        ]
        yield ("  " + "   ".join(parts)).rstrip()
