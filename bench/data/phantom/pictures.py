"""A phantom's image files: what is drawn for a view, and where it stands in the tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.data.phantom import anatomy, clinic, film
from bench.data.phantom.clinic import SplitName, Study
from bench.randomness import generator

JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The images of some patients of a split."""

    folder: str
    """The tree's root."""
    split: SplitName
    patients: tuple[int, int]
    """The first of them, counted from 0, and the first that is not of them."""
    size: int
    """Pixels a side."""
    seed: int


def write_pictures(job: Job) -> int:
    """Draws and saves every view of the patients' studies; returns how many there are."""
    written = 0
    for index in range(*job.patients):
        for study in clinic.draw_patient(job.split, index, job.seed):
            for view in range(len(study.views)):
                path = Path(job.folder) / image_path(job.split, study, view)
                path.parent.mkdir(parents=True, exist_ok=True)
                grey = draw_view(job.split, study, view, size=job.size, seed=job.seed)
                Image.fromarray(grey).save(path, quality=JPEG_QUALITY)
                written += 1
    return written


def image_path(split: SplitName, study: Study, view: int) -> str:
    """The path of a study's view (from 0) below the tree's root."""
    name = f"view{view + 1}_{study.views[view]}.jpg"
    return f"{split}/patient{study.patient:05d}/study{study.number}/{name}"


def draw_view(
    split: SplitName, study: Study, view: int, *, size: int, seed: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(size, size) grey values of one view of a study."""
    rng = generator(seed, f"phantom/{split}/film{view}", round=study.number, client=study.patient)
    return film.render(
        study.views[view],
        size,
        build=anatomy.draw_build(split, study.patient, age=study.age, male=study.male, seed=seed),
        sites=anatomy.draw_sites(split, study.patient, study.number, seed),
        technique=anatomy.draw_technique(rng, ap=study.ap),
        severity=dict(zip(clinic.FINDINGS, study.severity.tolist(), strict=True)),
        rng=rng,
    )
