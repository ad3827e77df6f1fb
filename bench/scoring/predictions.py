"""Predictions matched with truth: the same studies and conditions, nothing left out unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import PredictionError, did_you_mean
from bench.scoring.auroc import Array
from bench.scoring.score_file import ScoreFile, read_score_file
from bench.scoring.studies import StudyScores
from bench.scoring.views import FRONTAL, combine_views, without_frontal

Uncertain = Literal["fail", "ignore", "zeros", "ones"]
Level = Literal["study", "image"]

SHOWN = 3
"""How many ids or conditions a message names before it only counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How files are read where they leave a choice."""

    views: str = "max"
    level: Level = "study"
    uncertain: Uncertain = "fail"
    """What a -1 in the truth means; ``ignore`` leaves the study out of that condition."""
    ignore_extra: bool = False
    """Predictions for studies that the truth does not have are passed over, with a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The labels of u units: studies, or images where those are scored."""

    file: ScoreFile
    level: Level
    units: NDArray[np.str_]
    """(u,) keys, in the file's order."""
    patients: NDArray[np.str_]
    """(u,)"""
    unit: NDArray[np.int64]
    """(n,) which of ``units`` each row of the file is about."""
    first: NDArray[np.int64]
    """(u,) the file's first row of each unit."""
    rules: Rules

    def labels(self, name: str) -> Array:
        """(u,) 0, 1 or NaN for one condition.

        Raises PredictionError where a cell is neither 0, 1, blank nor an admitted -1, or where the
        views of one study carry different labels.
        """
        file = self.file
        values = file.numbers(name, blank=True)
        heading = file.names[name]
        uncertain = values == -1.0
        if uncertain.any() and self.rules.uncertain == "fail":
            row = int(np.flatnonzero(uncertain)[0])
            raise PredictionError(
                f"the truth of '{heading}' is uncertain (-1) for {int(uncertain.sum())} rows",
                where=file.where(row),
                expected="0, 1 or a blank cell",
                found="-1",
                mend="say what it means with --uncertain ignore, zeros or ones",
            )
        meaning = {"zeros": 0.0, "ones": 1.0}.get(self.rules.uncertain, np.nan)
        values[uncertain] = meaning
        odd = ~np.isnan(values) & (values != 0.0) & (values != 1.0)
        if odd.any():
            row = int(np.flatnonzero(odd)[0])
            raise PredictionError(
                f"a label of '{heading}' is neither 0 nor 1",
                where=file.where(row),
                expected="0, 1 or a blank cell",
                found=f"{values[row]:g}",
                mend="is this the file of predictions? the truth goes behind --truth",
            )
        return self._one_per_unit(heading, values)

    def _one_per_unit(self, heading: str, values: Array) -> Array:
        labels = values[self.first]
        if len(self.first) == len(values):
            return labels
        of = self.unit
        differ = ~((values == labels[of]) | (np.isnan(values) & np.isnan(labels[of])))
        if differ.any():
            row = int(np.flatnonzero(differ)[0])
            raise PredictionError(
                f"views of one study have different labels of '{heading}'",
                where=self.file.where(row),
                found=f"{values[row]:g} here, {labels[of[row]]:g} on line "
                f"{self.file.lines[int(self.first[of[row]])]}",
                mend="labels belong to the study; to score each image on its own, use "
                "--level image",
            )
        return labels


def read_truth(path: Path, rules: Rules) -> Truth:
    """Reads the labels; raises PredictionError where the file is malformed."""
    file = read_score_file(path)
    # Images whose paths tell of no study are scored one by one.
    grouped = any(key.study != key.unit for key in file.keys)
    level: Level = "study"
    if file.level == "image" and (rules.level == "image" or not grouped):
        level = "image"
    elif rules.level == "image":
        raise PredictionError(
            "the truth names studies, so images cannot be scored one by one",
            where=path,
            mend="leave --level image away",
        )
    of = [key.unit if level == "image" else key.study for key in file.keys]
    names = {name: number for number, name in enumerate(dict.fromkeys(of))}
    unit = np.array([names[name] for name in of], dtype=np.int64)
    first = np.unique(unit, return_index=True)[1]
    return Truth(
        file=file,
        level=level,
        units=np.array(list(names)),
        patients=np.array([file.keys[row].patient for row in first.tolist()]),
        unit=unit,
        first=first,
        rules=rules,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The rows of a predictions file, in the form that combining views asks for."""

    studies: NDArray[np.str_]
    study: NDArray[np.int64]
    view: NDArray[np.str_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """One model's scores beside the truth, and what was passed over to get there."""

    name: str
    scored: StudyScores
    combined: bool
    """True where scores of images were combined to scores of studies."""
    notes: tuple[str, ...]


def match(truth: Truth, paths: Sequence[Path], name: str) -> Matched:
    """The scores of one model, or of an ensemble: the mean of several files, before any maximum.

    Raises PredictionError where ids are missing or not known to the truth, where the files of an
    ensemble differ in level or ids, where nothing is common, or where a cell is not a number.
    """
    files = [read_score_file(path) for path in paths]
    wanted, notes = _conditions(truth, files)
    row_maps = [_rows(files[0], file) for file in files[1:]]
    columns = np.empty((len(files[0].keys), len(wanted)))
    for c, condition in enumerate(wanted):
        values = files[0].numbers(condition, blank=False)
        for file, rows in zip(files[1:], row_maps, strict=True):
            values = values + file.numbers(condition, blank=False)[rows]
        columns[:, c] = values / len(files)
    scores, more = to_units(truth, files[0], columns)
    labels = np.stack([truth.labels(condition) for condition in wanted], axis=1)
    scored = StudyScores(
        studies=truth.units,
        patients=truth.patients,
        observations=tuple(truth.file.names[condition] for condition in wanted),
        labels=labels,
        scores=scores[None],
        members=(name,),
    )
    return Matched(
        name=name,
        scored=scored,
        combined=truth.level == "study" and files[0].level == "image",
        notes=(*notes, *more),
    )


def _conditions(truth: Truth, files: Sequence[ScoreFile]) -> tuple[list[str], list[str]]:
    """The conditions that the truth and every file have, in the truth's order, and notes."""
    empty = {name for file in files for name in file.names if file.is_blank(name)}
    predicted = [name for name in files[0].names if name not in empty]
    shared = [name for name in predicted if all(name in file.names for file in files[1:])]
    wanted = [name for name in truth.file.names if name in shared]
    if not wanted:
        near = [
            f"'{files[0].names[name]}': {hint}"
            for name in predicted
            if (hint := did_you_mean(name, list(truth.file.names)))
        ]
        raise PredictionError(
            "no condition is in both the predictions and the truth",
            where=files[0].path,
            expected=", ".join(truth.file.names.values()) or f"conditions in {truth.file.path}",
            found=", ".join(files[0].names.values()) or "no column besides the id",
            mend="; ".join(near[:SHOWN]) or None,
        )
    notes = []
    headings = {name: text for file in files for name, text in file.names.items()}
    only_predicted = [headings[n] for n in headings if n not in wanted and n not in empty]
    if only_predicted:
        notes.append(
            "Predicted but not scored, as not in the truth or not in every file: "
            f"{', '.join(only_predicted)}."
        )
    absent = [text for n, text in truth.file.names.items() if n not in headings]
    if absent:
        listed = ", ".join(absent) if len(absent) <= SHOWN else f"{len(absent)} conditions"
        notes.append(f"In the truth but not predicted: {listed}.")
    blank = [headings[name] for name in headings if name in empty]
    if blank:
        notes.append(f"Columns without any prediction: {', '.join(blank)}.")
    return wanted, notes


def _rows(first: ScoreFile, other: ScoreFile) -> NDArray[np.int64]:
    """Where in ``other`` each row of ``first`` stands; both must have the same ids."""
    at = {key.unit: row for row, key in enumerate(other.keys)}
    missing = [row for row, key in enumerate(first.keys) if key.unit not in at]
    if missing or len(first.keys) != len(other.keys):
        raise PredictionError(
            "the files of an ensemble are not about the same ids",
            where=other.path,
            expected=f"the {len(first.keys)} ids of {first.path}",
            found=f"{len(other.keys)} ids, {len(first.keys) - len(missing)} of them common",
            mend="give every file all ids, at the same level; to score each file on its own, "
            "use --each",
        )
    return np.array([at[key.unit] for key in first.keys], dtype=np.int64)


def to_units(truth: Truth, file: ScoreFile, scores: Array) -> tuple[Array, list[str]]:
    """Scores per row of the file → (u, o) per unit of the truth, with views combined, and notes.

    Raises PredictionError where an id is missing, or not known to the truth.
    """
    notes: list[str] = []
    if truth.level == "image":
        if file.level != "image":
            raise PredictionError(
                "the truth is about images and the predictions are about studies",
                where=file.path,
                expected=f"ids such as {truth.units[0]!r} ({truth.file.path})",
                found=repr(file.keys[0].unit),
                mend="give the predictions a row an image, as the truth has",
            )
        index = {key.unit: row for row, key in enumerate(file.keys)}
        rows = _find(truth, file, index, truth.units.tolist(), notes)
        return scores[rows], notes
    names: dict[str, int] = {}
    study = np.array([names.setdefault(key.study, len(names)) for key in file.keys])
    rows = _find(truth, file, names, truth.units.tolist(), notes)
    if file.level == "study":
        return scores[rows], notes
    view = _known_views(file, truth.file)
    table = _Table(studies=np.array(list(names)), study=study, view=view)
    notes += _check_views(truth, file, table, rows)
    return np.asarray(combine_views(scores, table, truth.rules.views))[rows], notes


def _find(
    truth: Truth, file: ScoreFile, index: dict[str, int], units: list[str], notes: list[str]
) -> NDArray[np.int64]:
    """Where each unit of the truth stands; every one must, and no other may unless allowed."""
    missing = [unit for unit in units if unit not in index]
    if len(missing) == len(units):
        raise PredictionError(
            "no id is in both the predictions and the truth",
            where=file.where(0),
            expected=f"ids such as {units[0]!r} ({truth.file.path})",
            found=repr(next(iter(index))),
        )
    if missing:
        raise PredictionError(
            f"no prediction for {len(missing)} of the truth's {counted(len(units), truth.level)}",
            where=file.path,
            found=f"nothing for {_some(missing)}",
            mend="predict them too, or take them out of the truth",
        )
    known = set(units)
    extra = [unit for unit in index if unit not in known]
    if extra and not truth.rules.ignore_extra:
        row = next(i for i, key in enumerate(file.keys) if extra[0] in (key.unit, key.study))
        raise PredictionError(
            f"the truth does not have {counted(len(extra), truth.level)} of the predictions",
            where=file.where(row),
            found=_some(extra),
            mend="use --ignore-extra to pass them over, or check that both are of one split",
        )
    if extra:
        notes.append(f"Passed over, as not in the truth: {counted(len(extra), truth.level)}.")
    return np.array([index[unit] for unit in units], dtype=np.int64)


def _known_views(file: ScoreFile, other: ScoreFile) -> NDArray[np.str_]:
    """(n,) the view of each row; where the file does not say, what the other says of the image."""
    told = dict(zip((key.unit for key in other.keys), other.views.tolist(), strict=True))
    return np.array(
        [
            view or told.get(key.unit, "")
            for key, view in zip(file.keys, file.views.tolist(), strict=True)
        ]
    )


def _check_views(
    truth: Truth, file: ScoreFile, table: _Table, rows: NDArray[np.int64]
) -> list[str]:
    """That no view the truth lists is missing, and what ``frontal`` had to work with."""
    frontal = truth.rules.views == "frontal"
    if frontal and not (table.view == FRONTAL).any():
        raise PredictionError(
            "no view is known to be frontal",
            where=file.path,
            expected="a column 'Frontal/Lateral', or paths such as view1_frontal.jpg",
            mend="use --views max or mean",
        )
    if truth.file.level == "image":
        if frontal:
            _check_agreement(truth, file)
        _check_images(truth, file, frontal)
    lacking = int(np.count_nonzero(without_frontal(table)[rows])) if frontal else 0
    if lacking:
        return [f"Without a frontal view, so scored by all views: {counted(lacking, 'study')}."]
    return []


def _check_agreement(truth: Truth, file: ScoreFile) -> None:
    """That both say the same of an image's view, where both say something."""
    theirs = dict(zip((k.unit for k in truth.file.keys), truth.file.views.tolist(), strict=True))
    for row, (key, view) in enumerate(zip(file.keys, file.views.tolist(), strict=True)):
        other = theirs.get(key.unit, "")
        if view and other and view != other:
            raise PredictionError(
                f"the predictions and the truth differ on the view of {key.unit}",
                where=file.where(row),
                expected=f"{other}, as in {truth.file.path}",
                found=view,
                mend="correct one of them, or use --views max or mean",
            )


def _check_images(truth: Truth, file: ScoreFile, frontal: bool) -> None:
    """That the images used are exactly the truth's: a study's score depends on each of them."""
    needed = _used(truth.file, _known_views(truth.file, file), frontal)
    studies = {key.study for key in truth.file.keys}
    missing = sorted(needed - {key.unit for key in file.keys})
    additional = _used(file, _known_views(file, truth.file), frontal) - needed
    extra = sorted(key.unit for key in file.keys if key.unit in additional and key.study in studies)
    if missing:
        raise PredictionError(
            f"no prediction for {len(missing)} of the truth's {counted(len(needed), 'image')}",
            where=file.path,
            found=f"nothing for {_some(missing)}",
            mend="predict every view: a study's score depends on all of them",
        )
    if extra:
        raise PredictionError(
            f"the truth does not list {counted(len(extra), 'image')} of its studies",
            where=file.path,
            found=_some(extra),
            mend="take them out, or use a truth with one row a study",
        )


def _used(file: ScoreFile, views: NDArray[np.str_], frontal: bool) -> set[str]:
    """The images that scores of studies are made of: all, or as ``frontal`` chooses them."""
    of = zip(file.keys, views.tolist(), strict=True)
    chosen = {key.unit for key, view in of if not frontal or view == FRONTAL}
    studies = {key.study for key in file.keys if key.unit in chosen}
    return chosen | {key.unit for key in file.keys if key.study not in studies}


def counted(n: int, level: str) -> str:
    """``1 study``, ``2 studies``, ``1 image`` …"""
    plural = "images" if level == "image" else "studies"
    return f"{n:,} {level if n == 1 else plural}"


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:SHOWN])
    return shown if len(ids) <= SHOWN else f"{shown} and {len(ids) - SHOWN} more"
