"""Drawing on a square of coordinates: soft edges, blobs, strokes and smooth noise.

x and y run from -1 to 1 across the film, x to the right and y down, whatever the number of pixels,
so that the same phantom can be drawn at any size. All fields are (side, side) float32; the type
says no more than floating, as NumPy's own types do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Field = NDArray[np.floating[Any]]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Stroke:
    """A polyline of constant width."""

    points: Points
    width: float
    """In film coordinates, of which the film is 2 wide."""
    value: float
    """Its strength in [0, 1]; where strokes of one layer cross, the later one stays."""


def curve(points: Points, width: float, value: float) -> Stroke:
    """A smooth stroke through the points (Catmull-Rom spline, its ends held)."""
    known = np.asarray([points[0], *points, points[-1]])
    p0, p1, p2, p3 = (known[i : len(known) - 3 + i, None] for i in range(4))
    t = np.linspace(0.0, 1.0, 8)[None, :, None]
    path = 0.5 * (
        2.0 * p1
        + (p2 - p0) * t
        + (2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3) * t**2
        + (3.0 * p1 - p0 - 3.0 * p2 + p3) * t**3
    )
    return Stroke([(x, y) for x, y in path.reshape(-1, 2).tolist()], width, value)


@lru_cache(maxsize=4)
def coordinates(side: int) -> tuple[Field, Field]:
    """x and y of the pixel centres, broadcastable: (1, side) and (side, 1)."""
    centres = ((np.arange(side, dtype=np.float32) + 0.5) * (2.0 / side) - 1.0).astype(np.float32)
    return centres[None, :], centres[:, None]


def ramp(distance: Field, width: float) -> Field:
    """0 below -width, 1 above width, smooth between: the soft edge of a shape."""
    t = distance * np.float32(0.5 / width)
    t += np.float32(0.5)
    np.clip(t, 0.0, 1.0, out=t)
    cubic = np.float32(3.0) - np.float32(2.0) * t
    cubic *= t
    cubic *= t
    return cubic


def blob(x: Field, y: Field, cx: float, cy: float, rx: float, ry: float) -> Field:
    """A Gaussian hill of height 1 and those two standard deviations."""
    u = (x - np.float32(cx)) * np.float32(math.sqrt(0.5) / rx)
    v = (y - np.float32(cy)) * np.float32(math.sqrt(0.5) / ry)
    square = u * u + v * v
    return np.asarray(np.exp(np.negative(square, out=square), out=square))


def ellipse(x: Field, y: Field, cx: float, cy: float, rx: float, ry: float, edge: float) -> Field:
    """A filled ellipse with an edge about ``edge`` wide."""
    u = (x - np.float32(cx)) * np.float32(1.0 / rx)
    v = (y - np.float32(cy)) * np.float32(1.0 / ry)
    return ramp((1.0 - np.sqrt(u * u + v * v)) * np.float32(min(rx, ry)), edge)


def strokes(side: int, lines: Sequence[Stroke], blur: float = 0.004) -> Field:
    """The polylines as one layer in [0, 1], blurred by ``blur`` (film coordinates)."""
    if not lines:
        return np.zeros((side, side), dtype=np.float32)
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    half = side / 2.0
    for line in lines:
        pixels = [((px + 1.0) * half, (py + 1.0) * half) for px, py in line.points]
        width = max(1, round(line.width * half))
        pen.line(pixels, fill=round(255 * min(max(line.value, 0.0), 1.0)), width=width)
    # A box as wide as a Gaussian of that deviation: a third of the time, and as good on a line.
    image = image.filter(ImageFilter.BoxBlur(1.5 * blur * half))
    return np.asarray(image, dtype=np.float32) * np.float32(1.0 / 255.0)


def smooth_noise(rng: np.random.Generator, side: int, cells: int) -> Field:
    """Noise of unit variance at ``cells`` × ``cells`` knots, interpolated between them."""
    knots = rng.standard_normal((cells, cells)).astype(np.float32)
    image = Image.fromarray(knots).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)
