"""The findings as a frontal film shows them, each from its severity in (0, 1).

Every function is continuous in the severity and shows next to nothing near 0, so that a false
appearance is faint and a true finding may be borderline.
"""

from __future__ import annotations

import numpy as np

from bench.data.phantom.anatomy import LOBES, Build, Sites
from bench.data.phantom.canvas import Field, Stroke, blob, curve, ellipse, ramp, smooth_noise
from bench.data.phantom.chest import Chest, plainness


def edema(chest: Chest, severity: float, rng: np.random.Generator) -> None:
    """Haze that spreads from the hila like wings, with short septal lines at the bases."""
    wings = blob(chest.across, chest.y, 0.27, 0.02, 0.20, 0.33)
    texture = 1.0 + np.float32(0.22) * smooth_noise(rng, chest.side, 11)
    spread = np.float32(0.80) * wings + np.float32(0.22)
    chest.fill(np.clip(np.float32(0.9 * plainness(severity)) * spread * texture, 0.0, 0.92))
    lines = []
    for which in (-1.0, 1.0):
        for i in range(5):
            y = chest.dome_of(which) - 0.02 - 0.05 * i
            outer = which * (chest.half_width - 0.02)
            lines.append(Stroke(((outer, y), (outer - which * 0.11, y + 0.012)), 0.012, 1.0))
    chest.dense += np.float32(0.06 * plainness(severity)) * chest.layer(lines, 0.006) * chest.air


def consolidation(chest: Chest, sites: Sites, severity: float, rng: np.random.Generator) -> None:
    """One lobe filled, dense to its fissure, with the bronchi dark inside it."""
    which, across, y, rx, ry, fissure = LOBES[sites.lobe]
    size = 0.75 + 0.50 * severity
    ragged = np.float32(0.035) * smooth_noise(rng, chest.side, 9)
    u = (chest.x - np.float32(which * across)) / np.float32(rx * size)
    v = (chest.y - np.float32(y)) / np.float32(ry * size)
    patch = ramp((1.0 - np.sqrt(u * u + v * v)) * np.float32(0.25) + ragged, 0.08)
    if fissure:
        patch *= ramp((np.float32(y) - chest.y) * fissure + np.float32(0.5 * ry * size), 0.02)
    bronchi = [
        Stroke(
            (
                (which * 0.18, 0.0),
                (which * across * 0.8, y * 0.7 + bend),
                (which * (across + 0.10), y + 2.2 * bend),
            ),
            0.022,
            1.0,
        )
        for bend in (-0.05, 0.0, 0.05)
    ]
    clear = 1.0 - np.float32(0.35) * chest.layer(bronchi, 0.008)
    shown = np.float32(plainness(severity)) * patch
    chest.dense += np.float32(0.16) * shown * chest.air
    chest.fill(np.float32(0.95) * shown * clear)


def pneumonia(chest: Chest, sites: Sites, severity: float, rng: np.random.Generator) -> None:
    """Several soft patches that run into each other: bronchopneumonia."""
    patch = np.zeros_like(chest.air)
    for x, y, radius in sites.patches:
        grown = radius * (0.85 + 0.70 * severity)
        patch = np.maximum(patch, blob(chest.x, chest.y, x, y, grown, 0.9 * grown))
    mottle = 1.0 + np.float32(0.25) * smooth_noise(rng, chest.side, 18)
    shown = np.clip(np.float32(1.05 * plainness(severity)) * patch * mottle, 0.0, 0.95)
    chest.dense += np.float32(0.15) * shown * chest.air
    chest.fill(shown)


def rise_of_dome(severity: float) -> float:
    """How far atelectasis pulls up the diaphragm of its side."""
    return 0.36 * plainness(severity)


def atelectasis(chest: Chest, sites: Sites, severity: float) -> None:
    """Plates of collapsed lung above a raised diaphragm, and the crowded base behind them."""
    which = sites.collapse
    dome = chest.dome_of(which)
    lines = [
        Stroke(
            (
                (which * 0.18, dome - up - slope * 0.1),
                (which * (0.18 + length), dome - up + 0.1 * slope),
            ),
            0.042,
            1.0,
        )
        for up, slope, length in sites.bands
    ]
    plates = chest.layer(lines, 0.010)
    crowded = ramp(0.20 - chest.dome, 0.12) * chest.on(which)
    strength = np.float32(plainness(severity))
    chest.fill(strength * np.clip(np.float32(0.85) * plates + np.float32(0.45) * crowded, 0.0, 0.9))
    chest.dense += np.float32(0.05) * strength * plates


def pneumothorax(chest: Chest, sites: Sites, severity: float) -> Field:
    """Air outside the lung: a thin pleural line, no vessels beyond it. Returns where, in [0, 1]."""
    depth = np.float32(0.03 + 0.34 * severity)
    inward = np.minimum(chest.wall, chest.apex * np.float32(0.8)) + np.float32(0.06) * ramp(
        0.1 - chest.y, 0.4
    )
    here = chest.on(sites.pneumothorax) * ramp(chest.dome, 0.02) * ramp(chest.wall, 0.02)
    plain = np.float32(plainness(severity))
    free = plain * here * ramp(depth - inward, 0.012)
    collapsed = plain * here * ramp(inward - depth, 0.012)
    chest.air += np.float32(0.16) * free * chest.air
    chest.fill(np.float32(0.22) * collapsed)
    line = np.exp(np.float32(-0.5) * np.square((inward - depth) * np.float32(1.0 / 0.011)))
    chest.dense += np.float32(0.16) * plain * here * line * (chest.air > 0.3)
    return np.asarray(free, dtype=np.float32)


def effusion(chest: Chest, sites: Sites, severity: float) -> None:
    """Fluid that fills the costophrenic angle, its upper edge a meniscus that climbs the wall."""
    for which, share in zip((-1.0, 1.0), sites.effusion, strict=True):
        height = 0.70 * share * plainness(severity)
        floor = chest.dome_of(which) + 0.22  # the costophrenic angle
        reach = np.clip(chest.across * np.float32(1.0 / chest.half_width), 0.0, 1.2)
        surface = np.float32(floor - 0.85 * height) - np.float32(0.40 * height) * reach**4
        fluid = ramp(chest.y - surface, 0.035) * chest.on(which)
        chest.dense += np.float32(0.09) * fluid * chest.air
        chest.fill(np.float32(0.97) * fluid)


def pleural_other(chest: Chest, sites: Sites, severity: float, rng: np.random.Generator) -> None:
    """Thickened pleura along the wall and over the apex, with a plaque of calcium."""
    which = sites.pleura
    uneven = 1.0 + np.float32(0.35) * smooth_noise(rng, chest.side, 9)
    thick = np.float32(0.03 + 0.11 * severity) * uneven
    along = ramp(chest.y + 0.35, 0.25) * ramp(0.45 - chest.y, 0.15)
    cap = ramp(-0.55 - chest.y, 0.08)
    rind = np.maximum(ramp(thick - chest.wall, 0.02) * along, ramp(thick - chest.apex, 0.02) * cap)
    chest.fill(np.float32(0.85 * plainness(severity)) * rind * chest.on(which))
    at = which * (chest.half_width - 0.12)
    plaque = [Stroke(((at, -0.02), (at + which * 0.03, 0.06), (at, 0.15)), 0.04, 1.0)]
    chest.dense += np.float32(0.14 * plainness(severity)) * chest.layer(plaque, 0.008)


def lesion(chest: Chest, sites: Sites, severity: float) -> None:
    """Round nodules with a sharp edge."""
    for x, y, radius in sites.nodules:
        grown = radius * (0.7 + 0.6 * severity)
        mass = ellipse(chest.x, chest.y, x, y, grown, grown, 0.018)
        strength = np.float32(plainness(severity))
        chest.fill(np.float32(0.8) * strength * mass)
        chest.dense += np.float32(0.03) * strength * mass


def broken_rib(
    chest: Chest, build: Build, sites: Sites, place: Field, severity: float
) -> tuple[Field, Field]:
    """How far the ribs are displaced (in rib spacings) and the callus at the break."""
    rib = np.float32(sites.rib)
    outer = ramp(chest.across - np.float32(sites.rib_at), 0.015) * chest.on(sites.rib_side)
    this_rib = np.abs(place - rib) < 0.5
    step = np.float32(0.34 * plainness(severity)) * outer * this_rib
    reach = sites.rib_at / build.half_width
    y = (
        build.apex
        + build.rib_start
        + 0.50 * reach**2.5
        - 0.10 * reach
        + sites.rib * build.rib_spacing
    )
    knot = blob(chest.x, chest.y, sites.rib_side * sites.rib_at, y, 0.034, 0.034)
    return np.asarray(step, dtype=np.float32), np.float32(0.26 * plainness(severity)) * knot


def devices(chest: Chest, sites: Sites, severity: float) -> None:
    """Tubes and wires; the plainer the finding, the more of them and the brighter."""
    lines: list[Stroke] = []
    for order, kind in enumerate(sites.devices):
        shown = float(np.clip(4.0 * severity - order, 0.0, 1.0))
        if shown > 0.0:
            lines += _device(kind, sites.device_side, chest, shown)
    chest.dense += np.float32(0.40 * plainness(severity)) * chest.layer(lines, 0.005)


def _device(kind: int, side: float, chest: Chest, shown: float) -> list[Stroke]:
    """The strokes of one kind of device, on that side where it has one."""
    if kind == 0:  # endotracheal tube, its tip above the carina
        return [curve(((0.01, -1.0), (0.0, -0.65), (-0.005, -0.36)), 0.030, 0.9 * shown)]
    if kind == 1:  # central venous line from the neck to the right atrium
        path = ((side * 0.20, -0.98), (side * 0.16, -0.70), (-0.09, -0.40), (-0.10, -0.02))
        return [curve(path, 0.020, shown)]
    if kind == 2:  # pacemaker: a can below the clavicle and a lead to the right ventricle
        can = ((side * 0.44, -0.56), (side * 0.56, -0.56))
        lead = (
            (side * 0.46, -0.58),
            (side * 0.20, -0.62),
            (-0.07, -0.35),
            (-0.09, 0.10),
            (0.16, 0.38),
        )
        return [Stroke(can, 0.13, shown), curve(lead, 0.018, 0.9 * shown)]
    if kind == 3:  # wires of the monitor with their electrodes
        found = []
        for x, y in ((-0.52, -0.50), (0.55, -0.45), (0.50, 0.30)):
            found.append(
                Stroke(((x, y), (x * 0.7, y + 0.25), (x * 0.9, 0.75), (x, 1.0)), 0.016, 0.7 * shown)
            )
            found.append(Stroke(((x - 0.025, y), (x + 0.025, y)), 0.05, shown))
        return found
    if kind == 4:  # gastric tube down the midline into the stomach
        path = ((0.03, -1.0), (0.02, -0.3), (0.05, 0.35), (0.22, chest.dome_right + 0.22))
        return [curve(path, 0.018, 0.9 * shown)]
    wires = [  # closed breastbone: wires in a row down the midline
        Stroke(((-0.03, y), (0.03, y + 0.02), (-0.02, y + 0.04)), 0.020, shown)
        for y in (-0.34, -0.20, -0.06, 0.08, 0.22)
    ]
    drain_side = side * 0.62
    return [
        *wires,
        curve(((drain_side, 0.95), (side * 0.60, 0.30), (side * 0.42, -0.30)), 0.034, 0.8 * shown),
    ]
