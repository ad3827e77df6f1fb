"""The scores of every study, kept so that any two models can be compared pairwise later."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.atomic import write_bytes
from bench.errors import NotComparable, ResultsError

_PARTS = ("studies", "patients", "observations", "labels", "scores", "members")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyScores:
    """What ``scores-<split>.npz`` holds: s studies, o observations, m members."""

    studies: NDArray[np.str_]
    """(s,) distinct study ids."""
    patients: NDArray[np.str_]
    """(s,) the patient of each study."""
    observations: tuple[str, ...]
    """(o,) distinct names."""
    labels: NDArray[np.floating]
    """(s, o) 1 positive, 0 negative, NaN not labelled."""
    scores: NDArray[np.floating]
    """(m, s, o) any real numbers, higher meaning more likely positive."""
    members: tuple[str, ...]
    """(m,) the models' distinct names: one, except where each client keeps its own."""

    def __post_init__(self) -> None:
        s, o, m = len(self.studies), len(self.observations), len(self.members)
        for name, shape in (("patients", (s,)), ("labels", (s, o)), ("scores", (m, s, o))):
            if getattr(self, name).shape != shape:
                got = getattr(self, name).shape
                raise ValueError(f"The '{name}' must have shape {shape}. Got {got} instead.")

    def save(self, path: Path) -> str:
        """Replaces the file in one step and returns its SHA-256; equal scores give equal bytes."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            studies=np.asarray(self.studies, dtype=np.str_),
            patients=np.asarray(self.patients, dtype=np.str_),
            observations=np.array(self.observations, dtype=np.str_),
            labels=self.labels,
            scores=self.scores,
            members=np.array(self.members, dtype=np.str_),
        )
        data = buffer.getvalue()
        write_bytes(path, data)
        return hashlib.sha256(data).hexdigest()

    @staticmethod
    def load(path: Path) -> StudyScores:
        """Reads what :meth:`save` wrote; raises ResultsError where the file is something else."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = {name: stored[name] for name in _PARTS}
            _refuse_other_kinds(parts)
            return StudyScores(
                studies=parts["studies"],
                patients=parts["patients"],
                observations=tuple(str(name) for name in parts["observations"]),
                labels=parts["labels"],
                scores=parts["scores"],
                members=tuple(str(name) for name in parts["members"]),
            )
        except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise ResultsError(
                "the scores cannot be read",
                where=path,
                expected=f"an npz file with {', '.join(_PARTS)}",
                found=str(error),
                mend="run the scenario again with --fresh",
            ) from error

    def take(self, rows: NDArray[np.int64]) -> StudyScores:
        """The same scores for those studies only, in that order."""
        return replace(
            self,
            studies=self.studies[rows],
            patients=self.patients[rows],
            labels=self.labels[rows],
            scores=self.scores[:, rows],
        )

    def select(self, observations: Sequence[str]) -> StudyScores:
        """The same scores for those observations only, in that order; each must be present."""
        columns = [self.observations.index(name) for name in observations]
        return replace(
            self,
            observations=tuple(observations),
            labels=self.labels[:, columns],
            scores=self.scores[:, :, columns],
        )


def _refuse_other_kinds(parts: Mapping[str, NDArray[Any]]) -> None:
    """Raises ValueError where an array holds what it cannot hold, whatever its shape."""
    for name in ("labels", "scores"):
        if parts[name].dtype.kind != "f":
            raise ValueError(f"The '{name}' must be numbers. Got {parts[name].dtype} instead.")
    for name in ("studies", "patients", "observations", "members"):
        if parts[name].dtype.kind != "U" or parts[name].ndim != 1:
            raise ValueError(f"The '{name}' must be a list of names. Got {parts[name].dtype}.")
    for name in ("studies", "observations", "members"):
        if len(np.unique(parts[name])) != len(parts[name]):
            raise ValueError(f"The '{name}' must be distinct. Got one of them twice.")
    labels = parts["labels"]
    if not (np.isnan(labels) | (labels == 0) | (labels == 1)).all():
        raise ValueError("The 'labels' must be 0, 1 or NaN. Got another number.")


def align(a: StudyScores, b: StudyScores) -> tuple[StudyScores, StudyScores]:
    """Both, with ``b`` in the order of ``a``'s studies and the observations both have.

    Raises NotComparable where the studies are not the same, where a label differs, or where no
    observation is common: a paired test would otherwise compare different questions.
    """
    where = {study: row for row, study in enumerate(b.studies.tolist())}
    missing = [study for study in a.studies.tolist() if study not in where]
    if missing or len(a.studies) != len(b.studies):
        raise NotComparable(
            "the two were scored on different studies",
            expected=f"the same {len(a.studies)} studies in both",
            found=f"{len(b.studies)} studies, {len(a.studies) - len(missing)} of them common",
            mend="score both on the same split of the same data",
        )
    common = tuple(name for name in a.observations if name in b.observations)
    if not common:
        raise NotComparable(
            "the two have no observation in common",
            found=f"{', '.join(a.observations)} against {', '.join(b.observations)}",
        )
    rows = np.array([where[study] for study in a.studies.tolist()], dtype=np.int64)
    first, second = a.select(common), b.take(rows).select(common)
    if not np.array_equal(first.labels, second.labels, equal_nan=True):
        differ = ~(
            (first.labels == second.labels) | (np.isnan(first.labels) & np.isnan(second.labels))
        )
        row, column = np.argwhere(differ)[0]
        raise NotComparable(
            "the two were scored against different labels",
            found=f"{int(differ.sum()):,} of {differ.size:,} labels, the first being "
            f"{common[column]} of {first.studies[row]}",
            mend="score both against the same truth",
        )
    return first, second
