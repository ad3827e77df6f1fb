"""One label file of a CheXpert tree, turned into a Split."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bench.data.csvfile import CsvFile
from bench.data.places import Places
from bench.data.split import Split
from bench.errors import DataError, Where, did_you_mean
from bench.observations import NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN

METADATA = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
SEX = ("Male", "Female", "Unknown", "")
VIEW = ("Frontal", "Lateral", "")
AP_PA = ("AP", "PA", "LL", "RL", "")
USUAL_LABELS = {
    b"1.0": POSITIVE, b"0.0": NEGATIVE, b"-1.0": UNCERTAIN,
    b"1": POSITIVE, b"0": NEGATIVE, b"-1": UNCERTAIN,
}  # fmt: skip
"""Spellings of at most four bytes, which are recognised without leaving NumPy."""
CELL_LIMIT, EXTRA_LIMIT = 64, 256
"""Longest cells in bytes: of a metadata column, and of a column kept as extra."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class SplitReader:
    """Reads one split; afterwards ``warnings`` holds what was let pass.

    A file may have one row an image (``Path``) or, as the competition's ground truth, one row a
    study (``Study``, or paths that end at the study): such a row becomes one row for each image in
    the study's folder, or stays one row, whose path is the folder, where there is none.
    """

    def __init__(self, name: str, root: Path, sheet: CsvFile) -> None:
        self.name = name
        self.root = root
        self.sheet = sheet
        self.warnings: list[str] = []
        self.prefixes: set[str] = set()
        """The prefixes of the paths, as ``Places`` finds them."""
        self.columns = self._columns()

    def read(self) -> Split:
        """The split. Raises DataError for a cell that is not what CheXpert's are."""
        sheet = self.sheet
        labels = self._labels()
        places = Places(self.root, sheet, self.columns["Path"])
        self.prefixes = places.prefixes
        paths, study = places.paths, np.array(places.study, dtype=np.int64)
        rows = np.arange(len(sheet))
        if places.study_level:
            paths, rows = self._views_on_disk(paths)
            study = study[rows]
        return Split(
            name=self.name,
            root=self.root,
            csv=sheet.file,
            paths=np.array(paths, dtype=np.str_),
            csv_lines=sheet.lines[rows],
            patients=np.array(list(places.patients), dtype=np.str_),
            studies=np.array(list(places.studies), dtype=np.str_),
            patient=np.array(places.owner, dtype=np.int64)[study],
            study=study,
            observations=OBSERVATIONS,
            labels=labels[rows],
            sex=self._words("Sex", SEX)[rows],
            age=self._ages()[rows],
            view=self._views(paths, rows),
            ap_pa=self._words("AP/PA", AP_PA)[rows],
            extra={name: values[rows] for name, values in self._extra().items()},
        )

    def _columns(self) -> dict[str, int]:
        """Column numbers by CheXpert's name; underscores and case do not matter."""
        known = {_key(name): name for name in (*METADATA, *OBSERVATIONS)}
        known["frontal lateral"], known["ap pa"] = "Frontal/Lateral", "AP/PA"
        titles = self.sheet.header
        if "path" not in map(_key, titles):
            known["study"] = "Path"
        found: dict[str, int] = {}
        where = Where(self.sheet.file, 1)
        for number, title in enumerate(titles):
            name = known.get(_key(title), title)
            if name in found and name:
                raise DataError(
                    f"two columns are called '{name}'",
                    where=where,
                    expected="a name of its own for every column",
                    found=f"columns {found[name] + 1} and {number + 1}",
                    mend="rename or remove one of them",
                )
            found[name] = number
        if "Path" not in found:
            raise DataError(
                "there is no column 'Path'",
                where=where,
                expected="a header that starts Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,…",
                found=", ".join(titles)[:200],
                mend=_separator(titles)
                or did_you_mean("Path", [*titles])
                or "name the column of image paths 'Path'",
            )
        missing = [name for name in OBSERVATIONS if name not in found]
        if len(missing) == len(OBSERVATIONS):
            raise DataError(
                "there is no label column",
                where=where,
                expected=", ".join(OBSERVATIONS),
                found=", ".join(titles)[:200],
                mend="name the columns of labels as CheXpert's train.csv does",
            )
        if missing:
            self.warnings.append(
                f"{self.sheet.file.name} has no column for {', '.join(missing)}: "
                "taken as not mentioned"
            )
        return found

    def _views_on_disk(self, paths: list[str]) -> tuple[list[str], NDArray[np.int64]]:
        """The images in each study's folder, and the row of the file each belongs to."""
        images: list[str] = []
        rows: list[int] = []
        absent = 0
        for row, path in enumerate(paths):
            folder = self.root / path
            names = sorted(
                p.name for p in (folder.iterdir() if os.path.isdir(folder) else ())
                if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
            )  # fmt: skip
            absent += not names
            views = [f"{path}/{name}" for name in names] or [path]
            images += views
            rows += [row] * len(views)
        self.warnings.append(
            f"{self.sheet.file.name} has one row a study: its images are those in the studies' "
            f"folders ({absent:,} of {len(paths):,} studies have none)"
        )
        return images, np.array(rows, dtype=np.int64)

    def _labels(self) -> NDArray[np.float32]:
        """(n, 14) labels in CheXpert's order; a blank cell, or a missing column, is NaN."""
        sheet = self.sheet
        present = [name for name in OBSERVATIONS if name in self.columns]
        columns = np.array([self.columns[name] for name in present])
        starts, ends = sheet.starts[:, columns], sheet.ends[:, columns]
        values = np.full(starts.shape, np.nan, dtype=np.float32)
        row, at = np.nonzero(ends > starts)
        start, length = starts[row, at], (ends - starts)[row, at]
        word = np.zeros(len(start), dtype=np.uint32)
        for offset in range(4):
            byte = sheet.buffer[np.minimum(start + offset, len(sheet.buffer) - 1)]
            word |= np.where(offset < length, byte.astype(np.uint32) << (8 * offset), 0).astype(
                np.uint32
            )
        found = np.full(len(start), np.nan, dtype=np.float32)
        for text, value in USUAL_LABELS.items():
            found[word == int.from_bytes(text, "little")] = value
        for odd in np.flatnonzero(np.isnan(found) | (length > 4)).tolist():
            found[odd] = self._unusual_label(int(row[odd]), int(columns[at[odd]]))
        values[row, at] = found
        labels = np.full((len(sheet), len(OBSERVATIONS)), np.nan, dtype=np.float32)
        labels[:, [OBSERVATIONS.index(name) for name in present]] = values
        return labels

    def _unusual_label(self, row: int, column: int) -> float:
        """A label written in another way, such as ``1.00``, or blanks or ``nan`` for no mention."""
        text = self.sheet.cell(row, column)
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.inf
        if value in (POSITIVE, NEGATIVE, UNCERTAIN) or math.isnan(value):
            return value
        raise DataError(
            f"column '{self.sheet.header[column]}' holds no label",
            where=self.sheet.where(row, column),
            expected="1.0 (positive), 0.0 (negative), -1.0 (uncertain) or nothing (not mentioned)",
            found=repr(text[:40]),
        )

    def _words(self, name: str, allowed: tuple[str, ...]) -> NDArray[np.str_]:
        """(n,) a column of few words; empty throughout where the file lacks it."""
        if name not in self.columns:
            return np.zeros(len(self.sheet), dtype="U1")
        column = self.columns[name]
        words = self.sheet.text(column, limit=CELL_LIMIT)
        wrong = ~np.isin(words, allowed)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"column '{self.sheet.header[column]}' holds an unknown word",
                where=self.sheet.where(row, column),
                expected=", ".join(word for word in allowed if word) + " or nothing",
                found=repr(str(words[row])),
            )
        return words

    def _ages(self) -> NDArray[np.float32]:
        """(n,) years. Each distinct text is read once: there are about ninety of them."""
        if "Age" not in self.columns:
            return np.full(len(self.sheet), np.nan, dtype=np.float32)
        column = self.columns["Age"]
        texts, index = np.unique(self.sheet.text(column, limit=CELL_LIMIT), return_inverse=True)
        years = np.full(len(texts), np.nan, dtype=np.float32)
        for number, text in enumerate(texts.tolist()):
            if not text:
                continue
            with suppress(ValueError), np.errstate(over="ignore"):  # too much for float32 is inf
                years[number] = float(text)
            if not 0 <= years[number] < math.inf:
                row = int(np.flatnonzero(index == number)[0])
                raise DataError(
                    f"column '{self.sheet.header[column]}' holds no age",
                    where=self.sheet.where(row, column),
                    expected="years, 0 or more, or nothing",
                    found=repr(text),
                )
        return years[index]

    def _views(self, paths: list[str], rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """(n,) Frontal or Lateral: the column's word, else what the file name ends in."""
        views = self._words("Frontal/Lateral", VIEW)[rows]
        if "Frontal/Lateral" in self.columns and (views != "").all():
            return views
        words = views.tolist()
        for at, path in enumerate(paths):
            stem = PurePosixPath(path).stem
            for word in VIEW[:2]:
                if not words[at] and stem.endswith(f"_{word.lower()}"):
                    words[at] = word
        return np.array(words, dtype=np.str_)

    def _extra(self) -> dict[str, NDArray[np.str_]]:
        """Further columns as text, such as ``site``; one with long cells is left out."""
        extra: dict[str, NDArray[np.str_]] = {}
        for name, column in self.columns.items():
            if name in METADATA or name in OBSERVATIONS or not name:
                continue
            near = did_you_mean(name, OBSERVATIONS)
            if near is not None:
                self.warnings.append(f"{self.sheet.file.name}: column '{name}' is unknown; {near}")
            if self.sheet.longest(column) > EXTRA_LIMIT:
                self.warnings.append(
                    f"{self.sheet.file.name}: column '{name}' is left out, "
                    f"having cells of more than {EXTRA_LIMIT} bytes"
                )
            else:
                extra[name] = self.sheet.text(column, limit=EXTRA_LIMIT)
        return extra


def _key(title: str) -> str:
    return " ".join(title.replace("_", " ").lower().split())


def _separator(header: tuple[str, ...]) -> str | None:
    """The remedy where a header of one cell was cut by something other than commas."""
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            return f"the cells are separated by {word}: save the file with commas"
    return None
