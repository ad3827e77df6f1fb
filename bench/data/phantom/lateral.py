"""The lateral view: breastbone on the film's left, spine on its right, the findings in profile."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.phantom import findings
from bench.data.phantom.anatomy import LOBES, Build, Sites, Technique
from bench.data.phantom.canvas import (
    Field,
    Stroke,
    blob,
    coordinates,
    curve,
    ellipse,
    ramp,
    smooth_noise,
    strokes,
)
from bench.data.phantom.chest import plainness

FRONT, BACK = -0.62, 0.60
"""x of the lungs' front and back edges at their widest."""


def draw_lateral(
    side: int,
    build: Build,
    sites: Sites,
    technique: Technique,
    severity: Mapping[str, float],
    rng: np.random.Generator,
) -> Field:
    """(side, side) opacity before exposure, as ``draw_frontal`` gives it."""
    across, down = coordinates(side)
    x = across - np.float32(technique.shift[0]) + np.float32(technique.tilt) * down
    y = down - np.float32(technique.shift[1])
    rise = 0.8 * findings.rise_of_dome(severity["Atelectasis"])
    dome = _domes(x, y, build, technique, rise)
    air = _lungs(x, y, build) * ramp(dome, 0.025)
    dense = np.zeros((side, side), dtype=np.float32)
    _fill_lungs(air, x, y, sites, severity, rng)
    _heart(air, dense, x, y, build, severity)
    _fluid(air, x, y, dome, severity["Pleural Effusion"])
    dense += _vessels(side, severity["Edema"], rng) * air
    _bones(dense, x, y, build, severity["Fracture"])
    dense += _lines(side, sites, severity)
    return _body(x, y, build) * (1.0 - np.float32(0.68) * air) + dense


def _domes(x: Field, y: Field, build: Build, technique: Technique, rise: float) -> Field:
    """Distance above the diaphragm, which falls steeply to the back."""
    level = np.float32(build.dome - technique.breath + 0.02 - rise)
    back = np.clip(x - np.float32(-0.05), 0.0, None)
    front = np.clip(np.float32(-0.25) - x, 0.0, None)
    return level + np.float32(0.75) * np.square(back) + np.float32(0.5) * np.square(front) - y


def _lungs(x: Field, y: Field, build: Build) -> Field:
    """Both lungs over each other, before heart and diaphragm."""
    top = np.clip(np.float32(0.1) - y, 0.0, None)
    front = x - (np.float32(FRONT) + np.float32(0.50) * np.square(top))
    back = np.float32(BACK) - np.float32(0.30) * np.square(top) - x
    apex = y - np.float32(build.apex + 0.06) - np.float32(1.1) * np.square(x - 0.08)
    return ramp(front, 0.03) * ramp(back, 0.04) * ramp(apex, 0.05)


def _heart(
    air: Field,
    dense: Field,
    x: Field,
    y: Field,
    build: Build,
    severity: Mapping[str, float],
) -> None:
    """The heart in front, the aortic arch above it, the windpipe between."""
    size = plainness(severity["Cardiomegaly"])
    rx, ry = 0.25 + 0.16 * size, 0.29 + 0.09 * size
    u = x - np.float32(-0.30 + 0.08 * size)
    v = y - np.float32(build.dome - 0.22)
    heart = ramp((1.0 - np.sqrt(np.square((u - 0.35 * v) / rx) + np.square(v / ry))) * 0.3, 0.04)
    air *= 1.0 - np.float32(0.85) * heart
    dense += np.float32(0.07) * heart
    wide = plainness(severity["Wide Mediastinum"])
    arch = ellipse(x, y, 0.02, -0.30, 0.15 + 0.14 * wide, 0.15 + 0.10 * wide, 0.12)
    air *= 1.0 - np.float32(0.25 + 0.65 * wide) * arch
    windpipe = np.exp(np.float32(-0.5) * np.square((x - 0.02 - 0.12 * (y + 0.6)) / 0.035))
    dense -= np.float32(0.10) * windpipe * ramp(-0.22 - y, 0.05)


def _fill_lungs(
    air: Field,
    x: Field,
    y: Field,
    sites: Sites,
    severity: Mapping[str, float],
    rng: np.random.Generator,
) -> None:
    """Haze, lobes, patches, nodules and rind, where the frontal film has them in height."""
    side = len(air)
    mottle = 1.0 + np.float32(0.22) * smooth_noise(rng, side, 11)
    haze = np.float32(0.70) * blob(x, y, 0.02, 0.0, 0.26, 0.32) + np.float32(0.22)
    air *= 1.0 - np.clip(np.float32(0.9 * plainness(severity["Edema"])) * haze * mottle, 0.0, 0.92)
    _, _, lobe_y, rx, ry, _ = LOBES[sites.lobe]
    depth = -0.18 if sites.lobe in (1, 3) else 0.24
    patch = ellipse(x, y, depth, lobe_y, 1.1 * rx, ry, 0.07)
    air *= 1.0 - np.float32(0.75 * plainness(severity["Lobar Consolidation"])) * patch
    for i, (_, py, radius) in enumerate(sites.patches):
        spot = blob(x, y, 0.10 + 0.08 * (i % 3), py, 1.2 * radius, radius)
        air *= 1.0 - np.float32(0.65 * plainness(severity["Pneumonia"])) * spot
    for i, (_, py, radius) in enumerate(sites.nodules):
        spot = ellipse(x, y, (-0.35, 0.25, 0.05)[i % 3], py, radius, radius, 0.02)
        air *= 1.0 - np.float32(0.6 * plainness(severity["Lung Lesion"])) * spot
    rind = ramp(np.float32(0.05 + 0.08 * severity["Pleural Other"]) - (np.float32(BACK) - x), 0.03)
    air *= 1.0 - np.float32(0.6 * plainness(severity["Pleural Other"])) * rind
    free = ramp(np.float32(-0.80 + 0.4 * severity["Pneumothorax"]) - y + 0.1, 0.03)
    air *= 1.0 + np.float32(0.18 * plainness(severity["Pneumothorax"])) * free


def _fluid(air: Field, x: Field, y: Field, dome: Field, severity: float) -> None:
    """Fluid in the deep angle at the back, its edge rising to the back and, less, to the front."""
    height = 0.66 * plainness(severity)
    bend = np.float32(0.30 * height) * np.square(np.clip((x - 0.1) / 0.5, -1.2, 1.2))
    surface = np.float32(0.86 - height) - bend
    air *= 1.0 - np.float32(0.85 * min(1.0, 8.0 * height)) * ramp(y - surface, 0.04)


def _vessels(side: int, edema: float, rng: np.random.Generator) -> Field:
    """Vessels from the hila, which lie over each other behind the heart."""
    lines = []
    for angle in np.linspace(0.0, 2.0 * np.pi, 14, endpoint=False):
        direction = angle + rng.normal(0.0, 0.12)
        path = [(0.05, -0.03)]
        for k in range(3):
            direction += rng.normal(0.0, 0.15)
            px, py = path[-1]
            path.append((px + 0.13 * np.cos(direction), py + 0.13 * np.sin(direction)))
            lines.append(Stroke(path[-2:], 0.022, (0.55 + 0.3 * edema) * (1.0 - 0.25 * k)))
    return np.float32(0.16) * strokes(side, lines, 0.008)


def _bones(dense: Field, x: Field, y: Field, build: Build, fracture: float) -> None:
    """The spine with its discs, the breastbone and the ribs of both sides."""
    middle = np.float32(BACK - 0.02) + np.float32(build.curvature) * np.sin(y * 2.5)
    off = (x - middle - np.float32(0.10) * np.square(y)) / np.float32(0.10)
    bodies = 0.65 + 0.35 * np.tanh(4.0 * np.cos(y * np.float32(2 * np.pi / 0.17)) + 2.0)
    dense += np.float32(0.15) * ramp(1.0 - np.abs(off), 0.3) * bodies
    front = np.abs(
        x - np.float32(FRONT - 0.03) - np.float32(0.50) * np.square(np.clip(0.1 - y, 0.0, None))
    )
    dense += np.float32(0.10) * ramp(0.04 - front, 0.015) * ramp(0.35 - y, 0.1)
    place = (y - np.float32(build.rib_start) - np.float32(0.35) * (FRONT - x) * -1.0) / np.float32(
        build.rib_spacing
    )
    off_rib = np.abs(place - np.rint(place))
    inside = ramp(x - np.float32(FRONT), 0.05) * ramp(np.float32(BACK) - x, 0.05)
    dense += np.float32(0.035) * ramp(0.2 - off_rib, 0.08) * inside * ramp(0.55 - y, 0.1)
    dense += np.float32(0.10 * plainness(fracture)) * blob(x, y, 0.30, 0.05, 0.05, 0.04)


def _lines(side: int, sites: Sites, severity: Mapping[str, float]) -> Field:
    """Plates of atelectasis and devices in profile."""
    plates = [
        Stroke(((-0.10, 0.38 - up), (0.35, 0.40 - up + 0.2 * slope)), 0.034, 1.0)
        for up, slope, _ in sites.bands
    ]
    layer = np.float32(0.13 * plainness(severity["Atelectasis"])) * strokes(side, plates, 0.010)
    shown = severity["Support Devices"]
    tubes = [
        curve(((-0.02, -1.0), (0.04, -0.5), (0.10, 0.1), (0.02, 0.7)), 0.022, 0.9),
        curve(((-0.15, -0.75), (-0.10, -0.3), (-0.20, 0.1), (-0.38, 0.32)), 0.020, 1.0),
        curve(((-0.60, -0.30), (-0.80, 0.2), (-0.70, 0.9)), 0.020, 0.8),
    ]
    count = sum(shown * 4.0 > i for i in range(len(tubes)))
    return layer + np.float32(0.36 * plainness(shown)) * strokes(side, tubes[:count], 0.005)


def _body(x: Field, y: Field, build: Build) -> Field:
    """The depth of the body from the side; the raised arms darken nothing."""
    front = (
        x
        - np.float32(FRONT - 0.55 * build.wall)
        - np.float32(0.30) * np.square(np.clip(-0.1 - y, 0.0, None))
    )
    back = np.float32(BACK + 0.16 + 0.4 * build.wall) - x
    shoulder = y + 1.0 - np.float32(0.5) * np.clip(np.abs(x) - 0.45, 0.0, None)
    outline = ramp(front, 0.05) * ramp(back, 0.05) * ramp(shoulder, 0.05)
    belly = np.float32(0.08) * ramp(y - np.float32(build.dome + 0.1), 0.2)
    return outline * (np.float32(0.66) + belly + np.float32(0.06) * ramp(-0.45 - y, 0.3))
