"""The frontal view: body, lungs, heart, bones and vessels, with the findings drawn in.

A film records what the beam passed through. Two fields are kept: ``air``, the share of the lung's
depth at a pixel that is still air, and ``dense``, everything added on top of it (vessels, bones,
metal). Disease of the lung and the pleura takes air away; the film is body - air + dense.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bench.data.phantom import findings
from bench.data.phantom.anatomy import Build, Sites, Technique
from bench.data.phantom.canvas import Field, Stroke, blob, coordinates, ellipse, ramp
from bench.data.phantom.chest import Chest, plainness

HILUM_X, HILUM_Y = 0.17, -0.02
AP_HEART, AP_MEDIASTINUM = 1.06, 1.12
"""An AP film's heart is farther from the detector and larger on it: a confounder of size."""


def draw_frontal(
    side: int,
    build: Build,
    sites: Sites,
    technique: Technique,
    severity: Mapping[str, float],
    rng: np.random.Generator,
) -> Field:
    """(side, side) opacity before exposure: about 0 for air around the body, 1 for dense parts."""
    chest = _chest(side, build, sites, technique, severity)
    _heart(chest, build, technique, severity["Cardiomegaly"])
    _mediastinum(chest, technique, severity["Wide Mediastinum"], build.calcium)
    vessels = _vessels(chest, severity["Edema"], rng)
    findings.edema(chest, severity["Edema"], rng)
    findings.consolidation(chest, sites, severity["Lobar Consolidation"], rng)
    findings.pneumonia(chest, sites, severity["Pneumonia"], rng)
    findings.atelectasis(chest, sites, severity["Atelectasis"])
    free = findings.pneumothorax(chest, sites, severity["Pneumothorax"])
    findings.effusion(chest, sites, severity["Pleural Effusion"])
    findings.pleural_other(chest, sites, severity["Pleural Other"], rng)
    findings.lesion(chest, sites, severity["Lung Lesion"])
    chest.dense += np.float32(0.16) * vessels * chest.air * (1.0 - free)
    _bones(chest, build, sites, technique, severity["Fracture"])
    if build.female:
        _breasts(chest)
    findings.devices(chest, sites, severity["Support Devices"])
    return _body(chest, build) * (1.0 - np.float32(0.66) * chest.air) + chest.dense


def _chest(
    side: int,
    build: Build,
    sites: Sites,
    technique: Technique,
    severity: Mapping[str, float],
) -> Chest:
    """The empty chest: coordinates, walls, domes and the air between them."""
    across_film, down_film = coordinates(side)
    collapse = findings.rise_of_dome(severity["Atelectasis"])
    cos, sin = np.float32(np.cos(technique.tilt)), np.float32(np.sin(technique.tilt))
    u, v = across_film - np.float32(technique.shift[0]), down_film - np.float32(technique.shift[1])
    x, y = u * cos - v * sin, u * sin + v * cos
    across = np.abs(x)
    narrowing = np.square(np.clip(0.15 - y, 0.0, None))
    wall = np.float32(build.half_width) * (1.0 - np.float32(0.40) * narrowing) - across
    apex = y - np.float32(build.apex) - np.float32(1.7) * np.square(across - np.float32(0.33))
    base = build.dome - technique.breath
    right = base + 0.04 - (collapse if sites.collapse > 0 else 0.0)
    left = base - (collapse if sites.collapse < 0 else 0.0)
    level = np.float32(left) + np.float32(right - left) * ramp(x, 0.12)
    fall = np.clip(across - np.float32(0.30), -0.2, None)
    dome = level + np.float32(1.25) * np.square(fall) - y
    chest = Chest(
        side=side,
        x=x,
        y=y,
        across=across,
        wall=wall,
        apex=apex,
        dome=dome,
        dome_left=left,
        dome_right=right,
        half_width=build.half_width,
        shift=technique.shift,
        tilt=technique.tilt,
        air=ramp(wall, 0.025) * ramp(apex, 0.04) * ramp(dome, 0.022),
        dense=np.zeros((side, side), dtype=np.float32),
    )
    # The lungs are deepest between midline and wall, so the film is darkest there.
    depth = np.float32(0.80) + np.float32(0.20) * np.clip(wall * np.float32(4.0), 0.0, 1.0)
    chest.air *= depth
    return chest


def _heart(chest: Chest, build: Build, technique: Technique, severity: float) -> None:
    """The heart's shadow, whose width is the cardiothoracic ratio times the chest's."""
    ratio = (0.42 + 0.24 * plainness(severity)) * (
        AP_HEART if technique.ap else 1.0
    ) + build.heart_ratio
    width = 2.0 * chest.half_width * ratio
    level = 0.5 * (chest.dome_left + chest.dome_right) - 0.20
    extent = np.where(chest.x < 0, np.float32(0.34 * width), np.float32(0.66 * width))
    height = np.float32(0.33 + 0.32 * (ratio - 0.42))
    u = chest.x / extent
    v = (chest.y - np.float32(level) - np.float32(0.16) * chest.x) / height
    inside = ramp((1.0 - np.sqrt(u * u + v * v)) * np.float32(0.3), 0.035)
    trunk = ellipse(chest.x, chest.y, 0.09, level - 0.30, 0.11, 0.16, 0.04)
    inside = np.maximum(inside, np.float32(0.85) * trunk)
    chest.air *= 1.0 - np.float32(0.95) * inside
    chest.dense += np.float32(0.07) * inside * (0.4 + 0.6 * ramp(chest.dome + 0.06, 0.08))


def _mediastinum(chest: Chest, technique: Technique, severity: float, calcium: float) -> None:
    """The band between the lungs with the aortic knob, the trachea and its two branches."""
    size = AP_MEDIASTINUM if technique.ap else 1.0
    widening = np.float32(0.13 * plainness(severity) * size)
    bulge = np.exp(np.float32(-0.5) * np.square((chest.y + 0.36) / np.float32(0.20)))
    edge = np.float32(0.095 * size) + widening * bulge
    chest.air *= ramp(chest.across - edge, 0.025)
    knob = ellipse(chest.x, chest.y, 0.10 + 0.5 * float(widening), -0.33, 0.075, 0.085, 0.03)
    chest.air *= 1.0 - np.float32(0.9) * knob
    chest.dense += np.float32(0.05 + 0.05 * calcium) * knob
    windpipe = [
        Stroke(((0.0, -1.0), (-0.005, -0.5), (-0.01, -0.22)), 0.075, 1.0),
        Stroke(((-0.01, -0.23), (-0.08, -0.13), (-0.15, -0.06)), 0.05, 0.7),
        Stroke(((-0.01, -0.23), (0.08, -0.12), (0.17, -0.07)), 0.045, 0.7),
    ]
    chest.dense -= np.float32(0.13) * chest.layer(windpipe, 0.014)


def _vessels(chest: Chest, edema: float, rng: np.random.Generator) -> Field:
    """Vessels that branch out from the hila, (side, side) in [0, 1]; broader with edema."""
    lines = []
    hila = np.zeros_like(chest.air)
    for which in (-1.0, 1.0):
        start = (which * HILUM_X, HILUM_Y - 0.03 * (which > 0))
        hila += blob(chest.x, chest.y, start[0], start[1], 0.045, 0.085)
        for i, angle in enumerate(np.linspace(-1.25, 1.35, 9)):
            upper = angle < -0.2
            value = 0.42 if upper else 0.62
            # Cephalisation: in heart failure the upper vessels fill as much as the lower ones.
            value += (0.5 if upper else 0.25) * edema
            path = [start]
            direction, step = angle + rng.normal(0.0, 0.07), 0.115 if i % 2 else 0.13
            for _ in range(4):
                direction += rng.normal(0.0, 0.14)
                px, py = path[-1]
                path.append(
                    (px + which * step * np.cos(direction), py + 1.15 * step * np.sin(direction))
                )
            for k in range(4):
                taper = 1.0 - 0.2 * k
                lines.append(
                    Stroke(path[k : k + 2], 0.026 * taper * (1 + 0.5 * edema), value * taper)
                )
    return chest.layer(lines, 0.007) + np.float32(0.8) * np.minimum(hila, 1.0)


def _bones(chest: Chest, build: Build, sites: Sites, technique: Technique, fracture: float) -> None:
    """Spine, ribs back and front, clavicles; a broken rib is a step and a knot of callus."""
    within = ramp(chest.wall + np.float32(0.05), 0.03) * ramp(chest.apex + np.float32(0.06), 0.05)
    reach = chest.across * np.float32(1.0 / build.half_width)
    start = np.float32(build.apex + build.rib_start)
    fall = np.float32(0.50) * np.square(reach) * np.sqrt(reach) - np.float32(0.10) * reach
    place = (chest.y - start - fall) * np.float32(1.0 / build.rib_spacing)
    broken, knot = findings.broken_rib(chest, build, sites, place, fracture)
    back = _rib_profile(place + broken, 0.22) * ramp(chest.across - 0.06, 0.03)
    front_place = (chest.y - start - np.float32(0.62) * (1.0 - reach) - 0.17) / np.float32(
        build.rib_spacing
    )
    front = _rib_profile(front_place, 0.25) * ramp(chest.across - 0.34, 0.08)
    above_belly = np.float32(0.20) + np.float32(0.80) * ramp(chest.dome + 0.1, 0.1)
    chest.dense += within * above_belly * (np.float32(0.075) * back + np.float32(0.045) * front)
    chest.dense += knot
    bend = np.float32(build.curvature) * np.sin(chest.y * np.float32(2.5))
    column = np.exp(np.float32(-0.5) * np.square((chest.x - bend) / np.float32(0.06)))
    discs = 0.8 + 0.2 * np.cos(chest.y * np.float32(2.0 * np.pi / 0.16))
    chest.dense += np.float32(0.085) * column * discs
    lift = -0.06 if technique.ap else 0.0
    clavicles = []
    for which in (-1.0, 1.0):
        path = [(0.07, -0.57), (0.22, -0.62), (0.40, -0.67), (0.56, -0.73), (0.68, -0.76)]
        clavicles.append(Stroke([(which * px, py + lift) for px, py in path], 0.055, 1.0))
    chest.dense += np.float32(0.10) * chest.layer(clavicles, 0.010)


def _rib_profile(place: Field, half: float) -> Field:
    """A tube seen from the side, once per whole number of ``place``: edges brighter than middle."""
    off = np.abs(place - np.rint(place))
    shell = np.float32(0.6) + np.float32(0.4) * np.square(off * np.float32(1.0 / half))
    return np.asarray(ramp(half - off, 0.07) * shell, dtype=np.float32)


def _breasts(chest: Chest) -> None:
    """Soft shadows over the lower lungs."""
    for which in (-1.0, 1.0):
        chest.dense += np.float32(0.05) * ellipse(
            chest.x, chest.y, which * 0.43, 0.26, 0.30, 0.28, 0.06
        )


def _body(chest: Chest, build: Build) -> Field:
    """The depth of the body, without air in it."""
    half = np.float32(build.half_width + build.wall) + np.float32(0.18) * ramp(-0.35 - chest.y, 0.4)
    shoulder = chest.y + 1.02 - np.float32(0.55) * np.clip(chest.across - 0.22, 0.0, None)
    outline = ramp(half - chest.across, 0.03) * ramp(shoulder, 0.04)
    depth = np.sqrt(np.clip(1.0 - np.square(chest.across / (half + 0.25)), 0.0, 1.0))
    belly = np.float32(0.08) * ramp(-chest.dome, 0.12)
    bubble = ellipse(chest.x, chest.y, 0.34, chest.dome_right + 0.16, 0.13, 0.07, 0.04)
    return outline * (np.float32(0.70) * depth + belly - np.float32(0.10) * bubble)
