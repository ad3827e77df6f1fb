"""What a partition hands out: patients with all their images, or single images with one class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.data.joining import SITE
from bench.data.split import Split
from bench.errors import SuiteError, did_you_mean
from bench.observations import POSITIVE, UNCERTAIN

JOIN = "give the sites' trees, each with --data, which makes the column; or name another column"
NO_FINDING = "No Finding"
NOTHING_POSITIVE = "nothing positive"
"""The key of a patient none of whose labels is positive, ``No Finding`` included."""

ATTRIBUTES = ("Sex", "Age", "AP/PA", "Frontal/Lateral")
"""The columns of every CheXpert tree that a partition can go by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """A category per unit: the commonest among its images, the alphabetically first if tied."""

    names: tuple[str, ...]
    """The distinct values in alphabetical order."""
    code: NDArray[np.int64]
    """(u,) index into ``names``; -1 where every cell of the unit is empty."""
    mixed: int
    """How many units have images of more than one category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """A number per unit to line units up by; NaN where it is not known."""

    value: NDArray[np.float64]
    meaning: str


Attribute = Groups | Ordering


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """A pool to divide. A unit is never divided: all of its images go to one client.

    Units stand in the order of their ids, so no result depends on the order of a label file.
    """

    noun: str
    """``patient`` or ``image``: what one unit is."""
    ids: NDArray[np.str_] | NDArray[np.int64]
    """(u,) ascending."""
    rows: NDArray[np.int64]
    """(n,) rows of the data set that are divided, ascending."""
    unit: NDArray[np.int64]
    """(n,) the unit of each of those rows."""
    weight: NDArray[np.int64]
    """(u,) images of each unit."""
    studies: NDArray[np.int64] | None
    """(u,) studies of each unit; None where the data has no studies."""
    keys: tuple[str, ...]
    key: NDArray[np.int64]
    """(u,) index into ``keys``: the one label that label-skewed partitions go by."""
    key_rule: str
    """One clause saying how ``key`` was found."""
    labels: tuple[str, ...]
    """(o,) the conditions."""
    positive: NDArray[np.int64]
    """(u, o) images of the unit with a positive label."""
    uncertain: NDArray[np.int64]
    """(u, o) images of the unit with an uncertain label."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """What was asked for of :data:`ATTRIBUTES` and of the split's further columns."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> int:
        """Images in the pool."""
        return len(self.rows)


def patients(
    split: Split, rows: NDArray[np.int64] | None = None, attributes: Sequence[str] = ()
) -> Units:
    """The patients of a split, or of those of its images that ``rows`` (r,) names.

    **Label key.** A patient is *positive* for an observation if any of its images is. Its key is
    the observation it is positive for that has the fewest positive patients in the pool, the
    earlier column if tied; ``No Finding`` is looked at only when nothing else is positive, and a
    patient with no positive label at all has the key ``nothing positive``. The rarest is taken so
    that rare conditions are skewed too: keyed by the commonest, nearly every patient of CheXpert
    would be "Support Devices" or "Lung Opacity". All columns of the label file count, whichever
    of them a scenario trains on, so that scenarios of other observations share their clients.

    Raises SuiteError where an attribute is not a column of the split.
    """
    rows = np.arange(len(split)) if rows is None else np.sort(np.asarray(rows, dtype=np.int64))
    present, unit, ids = _canonical(split.patient[rows], split.patients)
    by_unit = np.argsort(unit, kind="stable")
    starts = np.searchsorted(unit[by_unit], np.arange(len(present)))
    labels = split.labels[rows][by_unit]
    positive = np.add.reduceat(labels == POSITIVE, starts, axis=0, dtype=np.int64)
    uncertain = np.add.reduceat(labels == UNCERTAIN, starts, axis=0, dtype=np.int64)
    owner = np.zeros(len(split.studies), dtype=np.int64)
    owner[split.study[rows]] = unit + 1
    return Units(
        noun="patient",
        ids=ids,
        rows=rows,
        unit=unit,
        weight=np.bincount(unit, minlength=len(present)),
        studies=np.bincount(owner, minlength=len(present) + 1)[1:],
        keys=(*split.observations, NOTHING_POSITIVE),
        key=_rarest(positive > 0, split.observations),
        key_rule="a patient's key is its rarest positive observation",
        labels=split.observations,
        positive=positive,
        uncertain=uncertain,
        attributes={name: _attribute(split, rows, unit, len(present), name) for name in attributes},
    )


def images(
    classes: NDArray[np.integer], names: Sequence[str], rows: NDArray[np.int64] | None = None
) -> Units:
    """Single images of one class each, such as MNIST: ``classes`` (n,) index into ``names``."""
    rows = np.arange(len(classes)) if rows is None else np.sort(np.asarray(rows, dtype=np.int64))
    key = np.asarray(classes, dtype=np.int64)[rows]
    return Units(
        noun="image",
        ids=rows,
        rows=rows,
        unit=np.arange(len(rows)),
        weight=np.ones(len(rows), dtype=np.int64),
        studies=None,
        keys=tuple(names),
        key=key,
        key_rule="an image's key is its class",
        labels=tuple(names),
        positive=(key[:, None] == np.arange(len(names))).astype(np.int64),
        uncertain=np.zeros((len(rows), len(names)), dtype=np.int64),
    )


def _canonical(
    patient: NDArray[np.int64], names: NDArray[np.str_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    """Patients that occur, renumbered in the order of their ids: (old index, new per row, ids)."""
    present = np.flatnonzero(np.bincount(patient, minlength=len(names)))
    present = present[np.argsort(names[present], kind="stable")]
    renumbered = np.empty(len(names), dtype=np.int64)
    renumbered[present] = np.arange(len(present))
    return present, renumbered[patient], names[present]


def _rarest(positive: NDArray[np.bool_], observations: tuple[str, ...]) -> NDArray[np.int64]:
    """(u,) the key of each patient from (u, o) whether it is positive; see :func:`patients`."""
    frequency = positive.sum(axis=0)
    findings = [i for i, name in enumerate(observations) if name != NO_FINDING]
    preference = sorted(findings, key=lambda i: (frequency[i], i))
    preference += [i for i, name in enumerate(observations) if name == NO_FINDING]
    key = np.full(len(positive), len(observations), dtype=np.int64)
    for observation in reversed(preference):
        key[positive[:, observation]] = observation
    return key


def _attribute(
    split: Split, rows: NDArray[np.int64], unit: NDArray[np.int64], count: int, name: str
) -> Attribute:
    if name == "Age":
        return _mean(split.age[rows].astype(np.float64), unit, count, "mean age, youngest first")
    if name == "Frontal/Lateral":
        # Nearly every patient has both views, so a patient has no side to be on, only a share.
        lateral = np.where(split.view[rows] == "Lateral", 1.0, 0.0)
        lateral[split.view[rows] == ""] = np.nan
        return _mean(lateral, unit, count, "share of lateral images, lowest first")
    return _groups(column(split, name)[rows], unit, count)


def column(split: Split, name: str) -> NDArray[np.str_]:
    """(n,) the text of a column: ``Sex``, ``AP/PA``, ``Frontal/Lateral`` or a further one.

    ``patient`` is every image's patient id. Raises SuiteError where the split has no such column.
    """
    if name == "patient":
        return split.patients[split.patient]
    own = {"Sex": split.sex, "AP/PA": split.ap_pa, "Frontal/Lateral": split.view}
    known = {**own, **split.extra}
    if name not in known:
        words = ["patient", *known]
        raise SuiteError(
            f"a partition goes by the column '{name}', which {split.csv.name} does not have",
            expected=f"one of {', '.join(words)}",
            found=name,
            mend=JOIN if name == SITE else did_you_mean(name, words) or "name one of these",
        )
    return known[name]


def _mean(
    value: NDArray[np.float64], unit: NDArray[np.int64], count: int, meaning: str
) -> Ordering:
    known = ~np.isnan(value)
    total = np.bincount(unit[known], weights=value[known], minlength=count)
    number = np.bincount(unit[known], minlength=count)
    mean = np.full(count, np.nan)
    np.divide(total, number, out=mean, where=number > 0)
    return Ordering(value=mean, meaning=meaning)


def _groups(text: NDArray[np.str_], unit: NDArray[np.int64], count: int) -> Groups:
    names, code = np.unique(text, return_inverse=True)
    pair = unit * len(names) + code
    pairs, number = np.unique(pair, return_counts=True)
    owner, value = pairs // len(names), pairs % len(names)
    filled = names[value] != ""
    owner, value, number = owner[filled], value[filled], number[filled]
    # Last assignment wins: the commonest value comes last, the alphabetically first if tied.
    best = np.lexsort((-value, number))
    commonest = np.full(count, -1, dtype=np.int64)
    commonest[owner[best]] = value[best]
    used = np.unique(commonest[commonest >= 0])
    renumbered = np.full(len(names) + 1, -1, dtype=np.int64)
    renumbered[used] = np.arange(len(used))
    return Groups(
        names=tuple(str(n) for n in names[used]),
        code=renumbered[commonest],
        mixed=int((np.bincount(owner, minlength=count) > 1).sum()),
    )
