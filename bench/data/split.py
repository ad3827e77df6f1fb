"""The images of one split with their labels: what every reader returns and every learner takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One split of a data tree. Arrays are aligned: row i is image i, in CSV order."""

    name: str
    """``train``, ``valid`` or ``test``."""
    root: Path
    """The folder that ``paths`` are relative to."""
    csv: Path
    """The label file the rows came from."""
    paths: NDArray[np.str_]
    """(n,) image paths relative to ``root``, with the release's prefix removed."""
    csv_lines: NDArray[np.int64]
    """(n,) the line of ``csv`` each row stands on, 1-based, the header being line 1."""
    patients: NDArray[np.str_]
    """(p,) distinct patient ids, e.g. ``patient00001``, in order of first appearance."""
    studies: NDArray[np.str_]
    """(s,) distinct study ids, e.g. ``patient00001/study1``, in order of first appearance."""
    patient: NDArray[np.int64]
    """(n,) index into ``patients``."""
    study: NDArray[np.int64]
    """(n,) index into ``studies``."""
    observations: tuple[str, ...]
    """(o,) names of the columns of ``labels``."""
    labels: NDArray[np.float32]
    """(n, o) 1 positive, 0 negative, -1 uncertain, NaN not mentioned."""
    sex: NDArray[np.str_]
    """(n,) ``Male``, ``Female``, ``Unknown`` or empty."""
    age: NDArray[np.float32]
    """(n,) years; NaN where the cell is empty."""
    view: NDArray[np.str_]
    """(n,) ``Frontal``, ``Lateral`` or empty."""
    ap_pa: NDArray[np.str_]
    """(n,) ``AP``, ``PA``, ``LL``, ``RL`` or empty."""
    extra: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    """(n,) text by name for any further column of ``csv``, such as ``site``; empty cells are ""."""

    def __len__(self) -> int:
        return len(self.paths)

    def study_labels(self) -> NDArray[np.float32]:
        """(s, o) labels per study; a study's views carry the same labels, so the first is taken."""
        return self.labels[self.study_row()]

    def study_row(self) -> NDArray[np.int64]:
        """(s,) the first row of each study."""
        first = np.full(len(self.studies), len(self), dtype=np.int64)
        np.minimum.at(first, self.study, np.arange(len(self)))
        return first

    def study_patient(self) -> NDArray[np.int64]:
        """(s,) the patient of each study, as an index into ``patients``."""
        owner = np.empty(len(self.studies), dtype=np.int64)
        owner[self.study] = self.patient
        return owner

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The same split with only those images; patients and studies are renumbered."""
        patients, patient = np.unique(self.patient[rows], return_inverse=True)
        studies, study = np.unique(self.study[rows], return_inverse=True)
        return Split(
            name=self.name,
            root=self.root,
            csv=self.csv,
            paths=self.paths[rows],
            csv_lines=self.csv_lines[rows],
            patients=self.patients[patients],
            studies=self.studies[studies],
            patient=patient.astype(np.int64),
            study=study.astype(np.int64),
            observations=self.observations,
            labels=self.labels[rows],
            sex=self.sex[rows],
            age=self.age[rows],
            view=self.view[rows],
            ap_pa=self.ap_pa[rows],
            extra={name: values[rows] for name, values in self.extra.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A CheXpert tree: its splits and what is known of where it came from."""

    root: Path
    name: str
    """The dataset's name for tables, e.g. ``CheXpert-v1.0-small`` or ``kermany-224``."""
    splits: dict[str, Split]
    """``train`` always, ``valid`` and ``test`` where the tree has them."""
    digest: str
    """SHA-256 over the label files' names and bytes: the data's part of a scenario's identity."""
    synthetic: bool
    """True where the tree carries the phantom's marker: everything that shows it must say so."""
    ideal_auroc: dict[str, float] | None = None
    """Phantom only: per observation, the AUROC an ideal observer reaches on ``valid``."""
    warnings: tuple[str, ...] = ()
    """What the reader noticed and let pass, such as missing label columns; one sentence each."""
    sites: Mapping[str, Tree] = field(default_factory=dict)
    """The trees it was joined from, by site; empty for a tree of its own. See ``joining``."""
