"""From opacity to a film: exposure, blur, noise and eight bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.phantom.anatomy import Build, Sites, Technique
from bench.data.phantom.canvas import Field, smooth_noise
from bench.data.phantom.frontal import draw_frontal
from bench.data.phantom.lateral import draw_lateral

SMALLEST, LARGEST = 32, 1024
"""Pixels a side. Below 32 a costophrenic angle is less than a pixel."""
OVERSAMPLED_BELOW = 200
"""Smaller films are drawn at twice the size and averaged, so that thin lines stay thin lines."""
NOISE_SIZE = 96
"""The size at which ``Technique.quantum`` holds: a pixel's noise goes with the root of its area."""


def render(
    view: Literal["frontal", "lateral"],
    size: int,
    *,
    build: Build,
    sites: Sites,
    technique: Technique,
    severity: Mapping[str, float],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """(size, size) uint8 grey values, 0 black; bone, fluid and metal are bright."""
    factor = 2 if size < OVERSAMPLED_BELOW else 1
    draw = draw_frontal if view == "frontal" else draw_lateral
    opacity = draw(size * factor, build, sites, technique, severity, rng)
    if factor > 1:
        opacity = opacity.reshape(size, factor, size, factor).mean(axis=(1, 3))
    return expose(opacity, technique, rng)


def expose(opacity: Field, technique: Technique, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey values of an opacity field: gain, offset, uneven field, noise, tone curve."""
    size = len(opacity)
    uneven = np.float32(0.012) * smooth_noise(rng, size, 4)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    noise = np.float32(technique.quantum * math.sqrt(size / NOISE_SIZE)) * grain
    linear = np.clip(opacity * np.float32(technique.gain) + np.float32(technique.offset), 0.0, None)
    # Fewer quanta reach the film behind dense parts; at 8 bits the grain there is what one sees.
    value = linear + uneven * (linear > 0.02) + noise * (np.float32(0.5) + linear)
    tone = np.clip(value, 0.0, 1.0) ** np.float32(technique.gamma)
    return np.asarray(np.rint(tone * np.float32(250.0)), dtype=np.uint8)
