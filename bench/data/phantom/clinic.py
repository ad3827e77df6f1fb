"""Who comes to the phantom's clinic: patients, their studies, what they have and how plainly.

The model is a small graph, drawn from the top down:

    age ─→ syndrome ─→ findings ─→ severities ─→ image
                   └─→ AP or PA ──────────────────┘

A study has one *syndrome* (heart failure, infection, …). Given the syndrome the findings are
independent of each other; given a finding, its severity in (0, 1) is a Beta variate whose two
densities, present and absent, overlap. Images are drawn from severities, AP/PA, age and sex alone:
whether a finding is *present* never reaches the image except through its severity. That is what
makes the best possible reader computable (``ideal.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.observations import OBSERVATIONS
from bench.randomness import generator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SplitName = Literal["train", "valid", "test"]

FINDINGS: tuple[str, ...] = (
    "Wide Mediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Edema",
    "Lobar Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""What is drawn. Ten are observations themselves; the other observations are unions of these."""

UNIONS: dict[str, tuple[str, ...]] = {
    "Enlarged Cardiomediastinum": ("Wide Mediastinum", "Cardiomegaly"),
    "Consolidation": ("Lobar Consolidation", "Pneumonia"),
    "Lung Opacity": (
        "Lung Lesion",
        "Edema",
        "Lobar Consolidation",
        "Pneumonia",
        "Atelectasis",
    ),
}
"""Observations that are present where any of these is: the tree of Irvin et al. 2019, Figure 1."""

PATHOLOGY: tuple[str, ...] = tuple(name for name in FINDINGS if name != "Support Devices")
"""No Finding is true where none of these is present; devices do not count against it."""

SYNDROMES: tuple[str, ...] = (
    "well",
    "heart failure",
    "infection",
    "after surgery",
    "trauma",
    "malignancy",
)
SYNDROME_WEIGHT = np.array([0.25, 0.23, 0.21, 0.17, 0.07, 0.07])
"""At the age of ``MEAN_AGE``."""
SYNDROME_AGEING = np.array([-0.55, 0.45, 0.0, 0.10, -0.40, 0.35])
"""Change of the log weight with every ``AGE_SPREAD`` years."""
AP_SHARE = np.array([0.20, 0.72, 0.58, 0.96, 0.80, 0.35])
"""Per syndrome, the share of studies taken lying down, front to back: the sicker, the more."""

# Per syndrome (rows) the probability of each finding (columns, in the order of FINDINGS). The
# pattern, what goes with what, follows Irvin et al. 2019, Table 1; the shares are higher, so that
# a few hundred studies hold enough of everything.
PRESENT = np.array(
    [  # wide  heart lesion edema  lobar  pneum  atel   ptx   effus  pleur  fract  device
        [0.03, 0.05, 0.03, 0.03, 0.03, 0.02, 0.04, 0.02, 0.04, 0.03, 0.03, 0.12],
        [0.14, 0.82, 0.03, 0.84, 0.06, 0.05, 0.22, 0.02, 0.64, 0.05, 0.03, 0.50],
        [0.05, 0.12, 0.05, 0.10, 0.72, 0.62, 0.22, 0.03, 0.36, 0.08, 0.03, 0.42],
        [0.34, 0.30, 0.03, 0.20, 0.08, 0.06, 0.84, 0.26, 0.42, 0.06, 0.08, 0.95],
        [0.16, 0.06, 0.03, 0.05, 0.14, 0.04, 0.28, 0.54, 0.28, 0.06, 0.80, 0.60],
        [0.26, 0.10, 0.82, 0.08, 0.14, 0.10, 0.40, 0.08, 0.46, 0.34, 0.08, 0.35],
    ]
)

# Beta(a, b) of each finding's severity where it is absent and where it is present. A present
# finding has the larger a and the smaller b, so the likelihood ratio rises with severity.
ABSENT_BETA = np.array(
    [  # the same columns, as (a, b)
        (1.6, 5.0),
        (1.4, 5.8),
        (1.0, 6.0),
        (1.2, 6.0),
        (1.0, 7.0),
        (1.0, 7.0),
        (1.2, 6.0),
        (1.0, 7.0),
        (1.0, 6.0),
        (1.0, 6.0),
        (1.0, 6.0),
        (1.0, 8.0),
    ]
)
PRESENT_BETA = np.array(
    [
        (4.0, 2.6),
        (4.6, 2.4),
        (3.0, 2.4),
        (4.0, 2.4),
        (3.8, 2.2),
        (3.4, 2.2),
        (4.0, 2.2),
        (3.2, 2.4),
        (3.4, 2.2),
        (3.0, 2.6),
        (3.0, 2.4),
        (3.4, 2.0),
    ]
)

MEAN_AGE, AGE_SPREAD = 60.0, 18.0
YOUNGEST, OLDEST = 18.0, 90.0
"""CheXpert caps ages at 90 years."""
MALE_SHARE = 0.58
SAME_SYNDROME = 0.6
"""A further study keeps its patient's syndrome with this chance, else draws a new one."""
STUDY_SHARES = np.array([0.66, 0.22, 0.08, 0.04])
"""Of patients with one, two, three and four studies. Valid and test patients have one."""
SECOND_FRONTAL = 0.07
LATERAL_AFTER_PA, LATERAL_AFTER_AP = 0.36, 0.03
"""Who can stand for a PA view is turned for a lateral one; who lies in bed hardly ever is."""

FIRST_PATIENT: dict[SplitName, int] = {"train": 1, "valid": 60_001, "test": 80_001}
"""Fixed, so that more training patients never rename the others."""
MOST_PATIENTS: dict[SplitName, int] = {"train": 60_000, "valid": 20_000, "test": 19_999}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Studies as the model draws them, before any image: n of them, aligned."""

    age: Floats
    """(n,) whole years in [18, 90]."""
    male: NDArray[np.bool_]
    """(n,)"""
    ap: NDArray[np.bool_]
    """(n,) True where the frontal views are AP."""
    present: NDArray[np.bool_]
    """(n, 12) the truth, in the order of ``FINDINGS``."""
    severity: Floats
    """(n, 12) in (0, 1)."""

    def __len__(self) -> int:
        return len(self.age)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study: its place in the tree, its row of the truth and the views taken."""

    patient: int
    """The number in ``patient00001``."""
    number: int
    """1 for the patient's first study."""
    age: int
    male: bool
    ap: bool
    present: NDArray[np.bool_]
    """(12,)"""
    severity: Floats
    """(12,) in (0, 1)."""
    frontals: int
    lateral: bool

    @property
    def views(self) -> tuple[Literal["frontal", "lateral"], ...]:
        """The views in file order."""
        views: list[Literal["frontal", "lateral"]] = ["frontal"] * self.frontals
        return (*views, "lateral") if self.lateral else tuple(views)


def syndrome_given_age(age: Floats) -> Floats:
    """(n, 6) the prior of each syndrome at that age; rows sum to 1."""
    log = np.log(SYNDROME_WEIGHT) + np.outer((age - MEAN_AGE) / AGE_SPREAD, SYNDROME_AGEING)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def draw_ages(rng: np.random.Generator, n: int) -> Floats:
    """(n,) whole years."""
    return np.clip(np.rint(rng.normal(MEAN_AGE, AGE_SPREAD, n)), YOUNGEST, OLDEST)


def draw_syndromes(rng: np.random.Generator, age: Floats) -> Ints:
    """(n,) an index into ``SYNDROMES`` for each age."""
    cumulative = syndrome_given_age(age).cumsum(axis=1)
    index = (rng.random(len(age))[:, None] > cumulative).sum(axis=1)
    return np.minimum(index, len(SYNDROMES) - 1)


def draw_cases(
    rng: np.random.Generator, *, age: Floats, male: NDArray[np.bool_], syndrome: Ints
) -> Cases:
    """Findings, severities and AP/PA of studies whose patients and syndromes are known, (n,)."""
    ap = rng.random(len(age)) < AP_SHARE[syndrome]
    present = rng.random((len(age), len(FINDINGS))) < PRESENT[syndrome]
    absent_severity = rng.beta(ABSENT_BETA[:, 0], ABSENT_BETA[:, 1], size=present.shape)
    present_severity = rng.beta(PRESENT_BETA[:, 0], PRESENT_BETA[:, 1], size=present.shape)
    severity = np.where(present, present_severity, absent_severity)
    return Cases(age=age, male=male, ap=ap, present=present, severity=severity)


def draw_population(n: int, seed: int) -> Cases:
    """``n`` single studies of the clinic, without images, for figures that hold in the limit."""
    rng = generator(seed, "phantom/population")
    age = draw_ages(rng, n)
    male = rng.random(n) < MALE_SHARE
    return draw_cases(rng, age=age, male=male, syndrome=draw_syndromes(rng, age))


def draw_patient(split: SplitName, index: int, seed: int) -> list[Study]:
    """The studies of a split's patient ``index`` (from 0), from no other patient's draws."""
    rng = generator(seed, f"phantom/{split}/patient", client=index)
    count = 1 + int(rng.choice(len(STUDY_SHARES), p=STUDY_SHARES)) if split == "train" else 1
    age = np.repeat(draw_ages(rng, 1), count)
    male = np.repeat(rng.random(1) < MALE_SHARE, count)
    syndrome = draw_syndromes(rng, age)
    keeps = rng.random(count) < SAME_SYNDROME
    syndrome = np.where(keeps, syndrome[0], syndrome)
    cases = draw_cases(rng, age=age, male=male, syndrome=syndrome)
    second = rng.random(count) < SECOND_FRONTAL
    lateral = rng.random(count) < np.where(cases.ap, LATERAL_AFTER_AP, LATERAL_AFTER_PA)
    return [
        Study(
            patient=FIRST_PATIENT[split] + index,
            number=i + 1,
            age=int(cases.age[i]),
            male=bool(cases.male[i]),
            ap=bool(cases.ap[i]),
            present=cases.present[i],
            severity=cases.severity[i],
            frontals=1 + int(second[i]),
            lateral=bool(lateral[i]),
        )
        for i in range(count)
    ]


def truth(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n, 14) whether each observation is true, from (n, 12) findings."""
    columns = []
    for name in OBSERVATIONS:
        if name == "No Finding":
            columns.append(~present[:, finding_indices(PATHOLOGY)].any(axis=1))
        else:
            columns.append(present[:, finding_indices(UNIONS.get(name, (name,)))].any(axis=1))
    return np.stack(columns, axis=1)


def finding_indices(names: tuple[str, ...]) -> list[int]:
    """The columns of those findings."""
    return [FINDINGS.index(name) for name in names]
