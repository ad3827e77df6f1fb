"""Patients, studies and image paths from the ``Path`` column of a label file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from bench.data.csvfile import CsvFile
from bench.data.layout import SPLIT_FOLDERS, batch_folders, find_head, plain_head
from bench.errors import DataError

PLACE = re.compile(r"(?:^|/)(patient[^/]+)/(study[^/]+)(?=/|$)")
PATH_LIMIT = 1024
"""Longest path in bytes."""


class Places:
    """Reads the column at once; ids are numbered in order of first appearance.

    Raises DataError for a path without a patient and a study, and where some rows are images and
    others are studies.
    """

    def __init__(self, root: Path, sheet: CsvFile, column: int) -> None:
        self.paths: list[str] = []
        """Each row's path under ``root``, without the release's prefix."""
        self.patients: dict[str, int] = {}
        """Patients' numbers by id."""
        self.studies: dict[str, int] = {}
        """Studies' numbers by id, e.g. ``patient00001/study1``."""
        self.owner: list[int] = []
        """The patient of each study."""
        self.study: list[int] = []
        """The study of each row."""
        self.study_level = False
        """Whether rows are studies, as in the competition's ground truth, and not images."""
        self.prefixes: set[str] = set()
        """What stands before the split's folder in the paths: a release's name, or nothing."""
        self._root, self._sheet, self._column = root, sheet, column
        self._heads: dict[str, str] = {}
        self._batches: Mapping[str, str] | None = None
        self._read()

    def _read(self) -> None:
        """Views of a study mostly follow each other: a folder just seen is not looked at again."""
        previous, folder, number, whole = "", "", 0, 0
        for row, path in enumerate(self._sheet.text(self._column, limit=PATH_LIMIT).tolist()):
            cut = path.rfind("/")
            if previous and path[:cut] == previous:
                self.paths.append(folder + path[cut:])
            else:
                place = PLACE.search(path)
                if place is None:
                    raise self._no_place(row, path)
                start, end = place.start(1), place.end(2)
                key = path[start:end]
                number = self.studies.setdefault(key, len(self.studies))
                if number == len(self.owner):
                    self.owner.append(self.patients.setdefault(place[1], len(self.patients)))
                folder = self._folder(path[:start], place[1]) + key
                rest = path[end:].rstrip("/")
                whole += not rest
                previous = path[:end] if end == cut and rest else ""
                self.paths.append(folder + rest)
            self.study.append(number)
        if whole not in (0, len(self.paths)):
            raise DataError(
                "some rows are images and some are studies",
                where=self._sheet.file,
                expected="one row an image, or one row a study, throughout",
                found=f"{whole:,} of {len(self.paths):,} paths end at the study",
            )
        self.study_level = whole > 0

    def _no_place(self, row: int, path: str) -> DataError:
        return DataError(
            "the path names no patient and study" if path else "the path is empty",
            where=self._sheet.where(row, self._column),
            expected="…/patient00001/study1/view1_frontal.jpg",
            found=path or None,
        )

    def _folder(self, head: str, patient: str) -> str:
        """What ``head``, the part before the patient, becomes under the root."""
        if head not in self._heads:
            found = find_head(self._root, head, patient)
            if found is None and self._batches is None:
                self._batches = batch_folders(self._root)
            self._heads[head] = plain_head(self._root, head) if found is None else found
            parts = PurePosixPath(head).parts
            named = bool(parts) and parts[0] not in (*SPLIT_FOLDERS, "/", "..", ".")
            self.prefixes.add(parts[0] if named else "")
        known = self._heads[head]
        return self._batches.get(patient, known) if self._batches else known
