"""Radiologists' calls, read beside the same truth as a model's scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.errors import PredictionError, UsageError
from bench.scoring.auroc import Array
from bench.scoring.predictions import Truth, to_units
from bench.scoring.score_file import ScoreFile, normal_name, read_score_file
from bench.scoring.studies import StudyScores


def read_readers(folder: Path, truth: Truth, observations: Sequence[str]) -> dict[str, StudyScores]:
    """The calls of every radiologist: one CSV each in ``folder``, named by its file.

    Raises UsageError where the folder has no CSV, and PredictionError where a file is malformed, a
    study is missing or a call is not 0 or 1. A condition that a radiologist did not read is left
    out of that radiologist's calls.
    """
    paths = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if not paths:
        raise UsageError(
            "there is no radiologist's file here",
            where=folder,
            expected="a folder with one CSV a radiologist: Study, then 0 or 1 per condition",
        )
    readers = {}
    for path in paths:
        file = read_score_file(path)
        read = [o for o in observations if normal_name(o) in file.names]
        calls = [_calls(file, normal_name(name)) for name in read]
        if not calls:
            raise PredictionError(
                "the radiologist read none of the conditions that are scored",
                where=path,
                expected=", ".join(observations),
                found=", ".join(file.names.values()) or "no column besides the id",
            )
        scores, _ = to_units(truth, file, np.stack(calls, axis=1))
        labels = np.stack([truth.labels(normal_name(name)) for name in read], axis=1)
        readers[path.stem] = StudyScores(
            studies=truth.units,
            patients=truth.patients,
            observations=tuple(read),
            labels=labels,
            scores=scores[None],
            members=(path.stem,),
        )
    return readers


def _calls(file: ScoreFile, name: str) -> Array:
    calls = file.numbers(name, blank=False)
    odd = (calls != 0.0) & (calls != 1.0)
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise PredictionError(
            f"a radiologist's call of '{file.names[name]}' is neither 0 nor 1",
            where=file.where(row),
            expected="0 or 1",
            found=f"{calls[row]:g}",
        )
    return calls
