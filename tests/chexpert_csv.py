"""A label file of CheXpert's size and shape, for tests of speed and memory."""

from __future__ import annotations

import itertools

import numpy as np

from bench.observations import OBSERVATIONS

HEADER = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS))
IMAGES, STUDIES, PATIENTS = 223_414, 187_641, 64_540
"""Rows, studies and patients of CheXpert's train.csv."""


def chexpert_csv(
    images: int = IMAGES, studies: int = STUDIES, patients: int = PATIENTS, seed: int = 0
) -> bytes:
    """The bytes of a ``train.csv``: every patient has a study and every study an image.

    Three quarters of the labels are blank, as in CheXpert; a study's views carry its labels.
    """
    rng = np.random.default_rng(seed)
    owner = np.sort(
        np.concatenate([np.arange(patients), rng.integers(patients, size=studies - patients)])
    )
    study = np.sort(
        np.concatenate([np.arange(studies), rng.integers(studies, size=images - studies)])
    )
    order = np.concatenate([np.arange(count) for count in np.bincount(owner, minlength=patients)])
    words = np.array(["", "1.0", "0.0", "-1.0"])
    labels = rng.choice(4, size=(studies, len(OBSERVATIONS)), p=[0.75, 0.14, 0.07, 0.04])
    tails = [",".join(words[row]) for row in labels]
    sexes = ("Male", "Female")
    ages = rng.integers(18, 91, size=patients)
    lines = [HEADER]
    view = 0
    for number, previous in zip(
        study.tolist(), itertools.chain([-1], study.tolist()), strict=False
    ):
        view = view + 1 if number == previous else 1
        patient = int(owner[number])
        lateral = view == 2
        kind, beam = ("Lateral", "") if lateral else ("Frontal", "PA" if patient % 6 == 0 else "AP")
        path = (
            f"CheXpert-v1.0-small/train/patient{patient + 1:05d}/study{order[number] + 1}"
            f"/view{view}_{kind.lower()}.jpg"
        )
        lines.append(f"{path},{sexes[patient % 2]},{ages[patient]},{kind},{beam},{tails[number]}")
    return ("\n".join(lines) + "\n").encode()
