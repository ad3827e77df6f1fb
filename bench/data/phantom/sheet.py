"""One picture of what the phantom draws: the same made-up patient with each observation in turn."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.data.phantom import anatomy, clinic, film
from bench.observations import OBSERVATIONS
from bench.randomness import generator

COLUMNS = 5
MARGIN, CAPTION, TITLE = 6, 20, 34
"""Pixels between films, below each film and at the foot of the sheet."""
PLAIN, FAINT = 0.68, 0.10
"""Severities of what is shown and of everything else."""
SHOWN_BY = {
    "No Finding": (),
    "Enlarged Cardiomediastinum": ("Wide Mediastinum",),
    "Lung Opacity": ("Lobar Consolidation", "Edema"),
    "Consolidation": ("Lobar Consolidation",),
}
"""The findings drawn for an observation; the others are findings themselves."""
LATERALS = (
    "No Finding",
    "Cardiomegaly",
    "Edema",
    "Consolidation",
    "Pleural Effusion",
    "Support Devices",
)


def contact_sheet(*, size: int = 192, seed: int = 7) -> Image.Image:
    """A grey picture of 14 frontal and 6 lateral films of ``size`` pixels, named and captioned."""
    tiles: list[tuple[str, Literal["frontal", "lateral"]]] = [
        *((name, "frontal") for name in OBSERVATIONS),
        *((name, "lateral") for name in LATERALS),
    ]
    rows = -(-len(tiles) // COLUMNS)
    width = COLUMNS * (size + MARGIN) + MARGIN
    height = rows * (size + CAPTION + MARGIN) + MARGIN + TITLE
    sheet = Image.new("L", (width, height), color=18)
    pen = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(size=12), ImageFont.load_default(size=15)
    for i, (name, view) in enumerate(tiles):
        left = MARGIN + (i % COLUMNS) * (size + MARGIN)
        top = MARGIN + (i // COLUMNS) * (size + CAPTION + MARGIN)
        sheet.paste(Image.fromarray(draw_example(name, view, size=size, seed=seed)), (left, top))
        text = name if view == "frontal" else f"{name}, lateral"
        pen.text((left + 2, top + size + 3), text, fill=225, font=small)
    notice = "SYNTHETIC: drawn by bench data phantom. These are not radiographs of patients."
    pen.text((MARGIN + 2, height - TITLE + 6), notice, fill=255, font=large)
    return sheet


def draw_example(
    observation: str, view: Literal["frontal", "lateral"], *, size: int, seed: int
) -> NDArray[np.uint8]:
    """(size, size) one film of the sheet's patient with that observation and no other."""
    severity = dict.fromkeys(clinic.FINDINGS, FAINT)
    severity |= dict.fromkeys(SHOWN_BY.get(observation, (observation,)), PLAIN)
    rng = generator(seed, f"phantom/sheet/{view}")
    return film.render(
        view,
        size,
        build=anatomy.draw_build("sheet", 1, age=60, male=True, seed=seed),
        sites=anatomy.draw_sites("sheet", 1, 1, seed),
        technique=anatomy.draw_technique(rng, ap=False),
        severity=severity,
        rng=rng,
    )
