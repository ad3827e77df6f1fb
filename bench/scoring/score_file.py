"""A CSV with one row per study or image: predictions, truth or a radiologist's calls."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import PredictionError, Where, uneven_row
from bench.scoring.auroc import Array
from bench.scoring.ids import Key, parse_id, view_of

ID_COLUMNS = ("path", "study")
"""Either heads the ids; what the ids look like, not the heading, says whether they are images."""

METADATA = frozenset(
    {*ID_COLUMNS, "", "unnamed: 0", "index", "split", "patient"}
    | {"sex", "age", "frontal/lateral", "ap/pa"}
)
"""Columns that are never conditions."""

_VIEW_COLUMN = "frontal/lateral"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFile:
    """The rows of one file; cells are text until a column is asked for."""

    path: Path
    names: dict[str, str]
    """From a condition's normal name to its heading in the file, in the file's order."""
    keys: list[Key]
    """(n,) what each row is about."""
    lines: list[int]
    """(n,) the line each row ends on, 1-based."""
    views: NDArray[np.str_]
    """(n,) ``Frontal``, ``Lateral`` or empty where not known."""
    rows: list[list[str]]
    columns: dict[str, int]

    @property
    def level(self) -> str:
        """``image`` or ``study``."""
        return "image" if self.keys[0].is_image else "study"

    def where(self, row: int) -> Where:
        """The place of a row."""
        return Where(self.path, self.lines[row])

    def is_blank(self, name: str) -> bool:
        """True where no row has anything in that column."""
        at = self.columns[name]
        return not any(row[at].strip() for row in self.rows)

    def numbers(self, name: str, *, blank: bool) -> Array:
        """(n,) the column as finite numbers; blank cells are NaN where ``blank`` allows them.

        Raises PredictionError, at the cell's line, for anything else.
        """
        at = self.columns[name]
        cells = [row[at] for row in self.rows]
        texts = [cell.strip() for cell in cells]
        allowed = np.array([blank and not text for text in texts])
        try:
            values = np.array([text or "nan" for text in texts], dtype=np.float64)
            if (np.isfinite(values) | allowed).all() and "_" not in "".join(texts):
                return values
        except ValueError:
            pass
        # Something is no number: cell by cell, the first that is not is found and named.
        return np.array([self._number(name, i, cell, blank) for i, cell in enumerate(cells)])

    def _number(self, name: str, row: int, cell: str, blank: bool) -> float:
        text = cell.strip()
        if not text and blank:
            return math.nan
        try:
            value = float(text) if "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        raise PredictionError(
            f"'{self.names.get(name, name)}' is not a number" if text else "a cell is blank",
            where=self.where(row),
            expected=f"a finite number under '{self.names.get(name, name)}'",
            found="nothing" if not text else repr(cell)[:60],
            mend="every study needs a score for every condition that is scored; "
            "remove the column to leave the condition out"
            if not blank
            else None,
        )


def normal_name(heading: str) -> str:
    """``Pleural_Effusion`` and ``pleural effusion`` are one condition."""
    return " ".join(heading.replace("_", " ").split()).casefold()


def read_score_file(path: Path) -> ScoreFile:
    """Reads a CSV with a heading, an id column (``Study`` or ``Path``) and condition columns.

    Raises PredictionError, with the line, where the file is missing, empty, not UTF-8 text, has no
    id column, repeats a heading or an id, mixes studies with images, or has a row of another
    length than the heading.
    """
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row:
                continue
            if not header:
                header = row
                columns, names = _header(path, header, reader.line_num)
            elif len(row) == len(header):
                rows.append(row)
                lines.append(reader.line_num)
            else:
                raise PredictionError(
                    "a row has another number of cells than the heading",
                    where=Where(path, reader.line_num),
                    expected=f"{len(header)} cells",
                    found=f"{len(row)} cells",
                    mend=uneven_row(cut=len(row) < len(header) and next(reader, None) is None),
                )
    except csv.Error as error:
        raise PredictionError(
            f"not a CSV file: {error}", where=Where(path, max(reader.line_num, 1))
        ) from error
    if not rows:
        raise PredictionError(
            "the file has a heading and no rows" if header else "the file is empty",
            where=path,
            expected="a heading line, then one line a study or image",
        )
    keys = _keys(path, rows, lines, columns)
    return ScoreFile(
        path=path,
        names=names,
        keys=keys,
        lines=lines,
        views=_views(rows, columns, keys),
        rows=rows,
        columns=columns,
    )


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PredictionError(
            "the file cannot be read", where=path, found=error.strerror or str(error)
        ) from error
    try:
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise UnicodeDecodeError("utf-8", data, data.index(b"\0"), len(data), "a NUL byte")
        return text
    except UnicodeDecodeError as error:
        raise PredictionError(
            "the file is not text",
            where=Where(path, data[: error.start].count(b"\n") + 1),
            expected="a CSV file in UTF-8",
            found=f"{error.reason} at byte {error.start}",
            mend="save it as CSV (UTF-8)",
        ) from error


def _header(path: Path, header: list[str], line: int) -> tuple[dict[str, int], dict[str, str]]:
    columns: dict[str, int] = {}
    names: dict[str, str] = {}
    for at, heading in enumerate(header):
        name = normal_name(heading)
        if name in columns and name:
            raise PredictionError(
                "two columns have the same name",
                where=Where(path, line),
                found=f"'{header[columns[name]]}' and '{heading}', columns {columns[name] + 1} "
                f"and {at + 1}",
                mend="remove or rename one of them",
            )
        columns[name] = at
        if name not in METADATA:
            names[name] = heading.strip()
    if not any(name in columns for name in ID_COLUMNS):
        separator = next((s for s in ";\t|" if len(header) == 1 and s in header[0]), None)
        raise PredictionError(
            "the file has no column 'Study' or 'Path'",
            where=Where(path, line),
            expected="a heading such as Study,Atelectasis,Cardiomegaly,…",
            found=",".join(header)[:80],
            mend=f"separate the cells by commas instead of {separator!r}" if separator else None,
        )
    return columns, names


def _keys(
    path: Path, rows: list[list[str]], lines: list[int], columns: dict[str, int]
) -> list[Key]:
    at = next(columns[name] for name in ID_COLUMNS if name in columns)
    keys: list[Key] = []
    seen: dict[str, int] = {}
    for i, row in enumerate(rows):
        key = parse_id(row[at])
        where = Where(path, lines[i])
        if key is None:
            raise PredictionError(
                "a row has no id",
                where=where,
                expected="an id such as CheXpert-v1.0/test/patient64741/study1",
                found=repr(row[at]),
                mend="take the row out, or write which study or image it is about",
            )
        if key.unit in seen:
            raise PredictionError(
                "an id occurs twice",
                where=where,
                found=f"{row[at]!r}, first on line {lines[seen[key.unit]]}",
                mend="keep one row for it",
            )
        if keys and key.is_image != keys[0].is_image:
            raise PredictionError(
                "the file mixes studies with images",
                where=where,
                expected=f"ids like the first, {rows[0][at]!r}",
                found=repr(row[at]),
            )
        seen[key.unit] = i
        keys.append(key)
    return keys


def _views(rows: list[list[str]], columns: dict[str, int], keys: list[Key]) -> NDArray[np.str_]:
    if _VIEW_COLUMN in columns:
        at = columns[_VIEW_COLUMN]
        return np.array([row[at].strip().capitalize() for row in rows])
    return np.array([view_of(key) for key in keys])
