"""The geometry of one frontal film, which the anatomy sets up and the findings draw into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.phantom.canvas import Field, Stroke, ramp, strokes

BORDERLINE = 0.35
"""The severity at which a finding is half as plain as it can be."""


def plainness(severity: float) -> float:
    """How much of a finding shows, in (0, 1): rises strictly, and steeply around the borderline.

    The borderline is near where a severity is as likely with the finding as without, so most
    studies show plainly whether they have it, and some do not.
    """
    cube, border = severity**3, BORDERLINE**3
    return (1.0 + border) * cube / (cube + border)


@dataclass(slots=True, kw_only=True)
class Chest:
    """Fields over the film and the two that drawing changes, ``air`` and ``dense``."""

    side: int
    """Pixels a side."""
    x: Field
    y: Field
    """The patient's coordinates at each pixel, shift and tilt taken out: x = 0 is the midline."""
    across: Field
    """|x|."""
    wall: Field
    """Distance inward from the chest wall; negative outside."""
    apex: Field
    """Distance below the tops of the lungs."""
    dome: Field
    """Distance above the diaphragm."""
    dome_left: float
    """y of the dome on the film's left."""
    dome_right: float
    """y of the dome on the film's right."""
    half_width: float
    """Of the lungs at their widest."""
    shift: tuple[float, float]
    tilt: float
    air: Field
    """In [0, 1], the share of the greatest depth of lung that is air at the pixel."""
    dense: Field
    """What lies in the beam besides the body and its air, in units of opacity."""

    def on(self, which: float) -> Field:
        """1 on that side of the midline (-1: the film's left), 0 on the other, soft between."""
        return ramp(self.x * np.float32(which), 0.02)

    def dome_of(self, which: float) -> float:
        """y of the dome on that side."""
        return self.dome_left if which < 0 else self.dome_right

    def fill(self, amount: Field) -> None:
        """Takes that share, in [0, 1], of the air that is left."""
        self.air *= np.float32(1.0) - amount

    def layer(self, lines: Sequence[Stroke], blur: float) -> Field:
        """Strokes in the patient's coordinates as one layer in [0, 1] on the film."""
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        moved = [
            Stroke(
                [
                    (px * cos + py * sin + self.shift[0], -px * sin + py * cos + self.shift[1])
                    for px, py in line.points
                ],
                line.width,
                line.value,
            )
            for line in lines
        ]
        return strokes(self.side, moved, blur)
