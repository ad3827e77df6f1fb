"""A patient's build, a study's sites of disease and a film's technique: what the drawing needs.

None of it depends on what is present: every study has a site for every finding, drawn whether the
finding is there or not, and the severity alone decides how plainly it shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.randomness import generator

LOBES: tuple[tuple[float, float, float, float, float, int], ...] = (
    (-1.0, 0.38, -0.38, 0.26, 0.28, 1),
    (-1.0, 0.40, 0.06, 0.26, 0.25, -1),
    (-1.0, 0.42, 0.26, 0.26, 0.22, 0),
    (1.0, 0.38, -0.38, 0.25, 0.25, 0),
    (1.0, 0.46, 0.20, 0.24, 0.25, 0),
)
"""Side (-1 the patient's right, on the film's left), then |x|, y, rx, ry of each lobe's patch, and
whether the right lung's horizontal fissure cuts it off below (1), above (-1) or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A patient's anatomy, in film coordinates (the film is 2 wide) unless stated."""

    half_width: float
    """Of the lungs at their widest."""
    apex: float
    """y of the tops of the lungs."""
    dome: float
    """y of the right diaphragm's dome at full inspiration."""
    wall: float
    """Thickness of the chest wall."""
    heart_ratio: float
    """Added to the cardiothoracic ratio: healthy hearts differ too."""
    rib_spacing: float
    rib_start: float
    curvature: float
    """Of the spine, to either side."""
    female: bool
    calcium: float
    """In [0, 1], of the aortic knob; grows with age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """Where in this study each finding sits. Sides are -1 (film's left) or 1."""

    effusion: tuple[float, float]
    """Share of the severity on the film's left and on its right; at least one is 1."""
    lobe: int
    patches: tuple[tuple[float, float, float], ...]
    """x, y and radius of the patches of pneumonia."""
    collapse: float
    bands: tuple[tuple[float, float, float], ...]
    """Of plate-like atelectasis: height above the dome, slope and length."""
    pneumothorax: float
    pleura: float
    rib: int
    rib_side: float
    rib_at: float
    nodules: tuple[tuple[float, float, float], ...]
    """x, y and radius."""
    devices: tuple[int, ...]
    """The order in which kinds of device appear as the severity rises."""
    device_side: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Technique:
    """How one film was taken."""

    ap: bool
    shift: tuple[float, float]
    tilt: float
    """Radians."""
    breath: float
    """How far the diaphragm stands above full inspiration."""
    gain: float
    offset: float
    gamma: float
    quantum: float
    """Standard deviation of the noise of a pixel at 96 pixels a side, full scale being 1."""


def draw_build(split: str, patient: int, *, age: int, male: bool, seed: int) -> Build:
    """The build of one patient; every study of the patient shares it."""
    rng = generator(seed, f"phantom/{split}/build", client=patient)
    n = rng.standard_normal(8)
    return Build(
        half_width=float(0.715 + 0.025 * n[0] + (0.01 if male else -0.015)),
        apex=float(-0.80 + 0.02 * n[1]),
        dome=float(0.50 + 0.03 * n[2]),
        wall=float(np.clip(0.17 + 0.04 * n[3], 0.09, 0.30)),
        heart_ratio=float(0.012 * n[4]),
        rib_spacing=float(0.158 + 0.006 * n[5]),
        rib_start=float(0.03 * n[6]),
        curvature=float(0.02 * n[7]),
        female=not male,
        calcium=float(np.clip((age - 50) / 60.0 + 0.1 * n[3], 0.0, 1.0)),
    )


def draw_sites(split: str, patient: int, study: int, seed: int) -> Sites:
    """Where each finding of a study sits."""
    rng = generator(seed, f"phantom/{split}/sites", round=study, client=patient)
    lobe_side = _side(rng)
    both = rng.random() < 0.35
    first = _side(rng)
    fainter = float(rng.uniform(0.5, 1.0)) if both else 0.0
    patches = tuple(
        (
            float((lobe_side if rng.random() < 0.75 else -lobe_side) * rng.uniform(0.26, 0.56)),
            float(rng.uniform(-0.10, 0.38)),
            float(rng.uniform(0.09, 0.13)),
        )
        for _ in range(5)
    )
    bands = tuple(
        (0.05 + 0.09 * i + float(rng.uniform(-0.02, 0.02)), float(rng.normal(0.0, 0.12)), length)
        for i, length in enumerate(rng.uniform(0.26, 0.40, size=3).tolist())
    )
    nodules = tuple(
        (
            float(_side(rng) * rng.uniform(0.28, 0.55)),
            float(rng.uniform(-0.5, 0.25)),
            float(rng.uniform(0.055, 0.085)),
        )
        for _ in range(int(rng.integers(1, 4)))
    )
    return Sites(
        effusion=(1.0, fainter) if first < 0 else (fainter, 1.0),
        lobe=int(rng.integers(len(LOBES))),
        patches=patches,
        collapse=_side(rng),
        bands=bands,
        pneumothorax=_side(rng),
        pleura=_side(rng),
        rib=int(rng.integers(4, 8)),
        rib_side=_side(rng),
        rib_at=float(rng.uniform(0.40, 0.58)),
        nodules=nodules,
        devices=tuple(int(i) for i in rng.permutation(6)),
        device_side=_side(rng),
    )


def draw_technique(rng: np.random.Generator, *, ap: bool) -> Technique:
    """Position, breath and exposure of one film; AP films are taken in bed and vary more."""
    n = rng.standard_normal(6)
    spread = 1.3 if ap else 1.0
    return Technique(
        ap=ap,
        shift=(float(0.025 * spread * n[0]), float(0.02 * spread * n[1])),
        tilt=float(0.018 * spread * n[2]),
        breath=float(abs(0.02 * n[3]) + (0.04 if ap else 0.0)),
        gain=float(1.0 + 0.03 * spread * n[4]),
        offset=float(0.012 * spread * n[5]),
        gamma=float(np.exp(0.04 * rng.standard_normal())),
        quantum=0.015 if ap else 0.011,
    )


def _side(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0
