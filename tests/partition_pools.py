"""Small pools for the tests of partitions, and one the size and shape of CheXpert's train.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.split import Split
from bench.federation.partitions import Partition
from bench.observations import OBSERVATIONS
from bench.suites.scenario import Choice

Labels = Sequence[Sequence[float]]


def choice(name: str, **parameters: Any) -> Choice:
    """A rule with its parameters as a suite would hand it over."""
    return Choice(name, tuple(sorted(parameters.items())))


def split_of(
    patients: Sequence[str],
    labels: Labels,
    observations: Sequence[str],
    *,
    studies: Sequence[str] | None = None,
    **columns: Sequence[Any],
) -> Split:
    """One row per image: its patient, its labels and whatever columns are given."""
    n = len(patients)
    study = [f"{p}/study1" for p in patients] if studies is None else list(studies)
    patient_names, patient = first_seen(patients)
    study_names, study_index = first_seen(study)
    extra = {k: np.array(v) for k, v in columns.items() if k not in {"sex", "age", "view", "ap_pa"}}
    return Split(
        name="train",
        root=Path("tree"),
        csv=Path("tree/train.csv"),
        paths=np.array([f"train/{s}/view{i}.jpg" for i, s in enumerate(study)]),
        csv_lines=np.arange(n) + 2,
        patients=patient_names,
        studies=study_names,
        patient=patient,
        study=study_index,
        observations=tuple(observations),
        labels=np.array(labels, dtype=np.float32).reshape(n, len(observations)),
        sex=np.array(columns.get("sex", [""] * n)),
        age=np.array(columns.get("age", [np.nan] * n), dtype=np.float32),
        view=np.array(columns.get("view", ["Frontal"] * n)),
        ap_pa=np.array(columns.get("ap_pa", ["AP"] * n)),
        extra=extra,
    )


def first_seen(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(distinct words in order of first appearance, index of each word)."""
    names = list(dict.fromkeys(words))
    place = {name: i for i, name in enumerate(names)}
    return np.array(names), np.array([place[w] for w in words], dtype=np.int64)


DIGITS = [str(d) for d in range(10)]


def mnist_labels() -> np.ndarray:
    """MNIST's training labels by their numbers per digit, in a shuffled order."""
    number = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    return np.random.default_rng(0).permutation(np.repeat(np.arange(10), number))


def owners(split: Split, shared: Partition) -> dict[str, int]:
    """The client of each patient, checking that no patient has two."""
    owner: dict[str, int] = {}
    for number, rows in enumerate(shared.clients):
        for patient in split.patients[np.unique(split.patient[rows])]:
            assert owner.setdefault(str(patient), number) == number
    return owner


def random_split(seed: int, patients: int, most_images: int = 6) -> Split:
    """Patients of 1 to ``most_images`` images with every kind of label, in shuffled row order."""
    r = np.random.default_rng(seed)
    owner = r.permutation(np.repeat(np.arange(patients), r.integers(1, most_images + 1, patients)))
    n = len(owner)
    observations = OBSERVATIONS[:6]
    labels = r.choice([1.0, 0.0, -1.0, np.nan], p=[0.2, 0.2, 0.1, 0.5], size=(n, 6))
    sexes = r.choice(["Male", "Female"], patients)
    return split_of(
        [f"patient{i:05d}" for i in owner],
        labels.tolist(),
        observations,
        sex=sexes[owner],
        age=r.integers(18, 90, patients)[owner],
        view=r.choice(["Frontal", "Lateral"], n),
        ap_pa=r.choice(["AP", "PA"], n),
        site=np.array(["east", "north", "west"])[owner % 3],
    )


def chexpert_shaped(
    images: int = 223_414, studies: int = 187_641, patients: int = 64_540, seed: int = 0
) -> Split:
    """Numbers of images, studies and patients, and the shares of labels, as in the release.

    Up to 92 images a patient; prevalences and uncertain shares after Irvin et al. 2019, Table 1,
    rounded; labels are independent of one another.
    """
    r = np.random.default_rng(seed)
    appeal = np.minimum(r.pareto(1.5, patients) + 0.1, 25.0)
    more = r.choice(patients, studies - patients, p=appeal / appeal.sum())
    patient_of_study = np.sort(np.concatenate([np.arange(patients), more]))
    second_views = r.choice(studies, images - studies, replace=False)
    study = np.sort(np.concatenate([np.arange(studies), second_views]))
    patient = patient_of_study[study]
    positive = [9, 5, 12, 49, 4, 26, 7, 2, 16, 9, 41, 1, 4, 56]
    vague = [0, 6, 4, 2, 1, 6, 12, 8, 16, 1, 5, 1, 0.2, 0.5]
    drawn = r.random((studies, 14)) * 100
    labels = np.full((studies, 14), np.nan, dtype=np.float32)
    labels[drawn < np.add(positive, vague)] = -1
    labels[drawn < positive] = 1
    labels[drawn > 90] = 0
    names = np.array([f"patient{i + 1:05d}" for i in range(patients)])
    view = np.where(r.random(images) < 0.855, "Frontal", "Lateral")
    frontal = np.where(r.random(images) < 0.85, "AP", "PA")
    return Split(
        name="train",
        root=Path("tree"),
        csv=Path("tree/train.csv"),
        paths=np.array([f"train/{i}.jpg" for i in range(images)]),
        csv_lines=np.arange(images) + 2,
        patients=names,
        studies=np.array([f"study{i}" for i in range(studies)]),
        patient=patient,
        study=study,
        observations=OBSERVATIONS,
        labels=labels[study],
        sex=np.where(r.random(patients) < 0.41, "Female", "Male")[patient],
        age=np.clip(r.normal(60, 18, patients), 18, 90).round().astype(np.float32)[patient],
        view=view,
        ap_pa=np.where(view == "Frontal", frontal, ""),
    )


CHEXPERT_RULES = (
    choice("iid"),
    choice("shards", per_client=2),
    choice("pathological", classes_per_client=4),
    choice("dirichlet", alpha=0.3, balanced=False, min_size=10),
    choice("dirichlet", alpha=0.3, balanced=True, min_size=10),
    choice("prevalence", sigma=1.0),
    choice("quantity", law="power", exponent=1.0),
    choice("attribute", by="Sex", strictness=0.8),
    choice("attribute", by="Age", strictness=1.0),
    choice("attribute", by="AP/PA", strictness=1.0),
    choice("attribute", by="Frontal/Lateral", strictness=1.0),
    choice("uncertainty", alpha=0.3),
)
"""One of each rule, for tables of CheXpert's size."""
