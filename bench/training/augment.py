"""Random flips and shifts, applied to whole chunks of uint8 images where they lie.

What an image gets is drawn on the CPU from the address (seed, "augment", round, client), so a GPU
and a CPU, and a resumed run, see the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SHIFT_SHARE = 16
"""A shift is at most this fraction (one sixteenth) of the side, in each direction."""
KINDS = ("none", "flip", "shift", "flip+shift")


@dataclass(frozen=True, slots=True)
class Draw:
    """One epoch's augmentation, an entry an image, in the epoch's order."""

    flip: Tensor | None
    """(n,) bool: mirrored left to right."""
    shift: Tensor | None
    """(n, 2) int64: pixels down and to the right; what comes in is black."""


def draw(kind: str, images: int, side: int, generator: np.random.Generator | None) -> Draw | None:
    """What each of ``images`` images gets; None for ``none``, which needs no generator."""
    if generator is None:
        assert kind == "none", f"{kind} is drawn at random"
        return None
    assert kind in KINDS, f"unknown augmentation {kind}"
    flip = shift = None
    if "flip" in kind:
        flip = torch.from_numpy(generator.random(images) < 0.5)
    if "shift" in kind:
        most = side // SHIFT_SHARE
        shift = torch.from_numpy(generator.integers(-most, most + 1, (images, 2)))
    return Draw(flip, shift)


def apply(images: Tensor, given: Draw | None, start: int, stop: int) -> Tensor:
    """(n, h, w) uint8 images, ``start`` to ``stop`` of the epoch, augmented; never in place."""
    if given is None:
        return images
    if given.flip is not None:
        flip = given.flip[start:stop].to(images.device, non_blocking=True)
        images = torch.where(flip[:, None, None], images.flip(2), images)
    if given.shift is not None:
        images = _shifted(images, given.shift[start:stop].to(images.device, non_blocking=True))
    return images


def _shifted(images: Tensor, shift: Tensor) -> Tensor:
    n, height, width = images.shape
    rows = torch.arange(height, device=images.device) - shift[:, :1]
    columns = torch.arange(width, device=images.device) - shift[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None, :
    ]
    number = torch.arange(n, device=images.device)[:, None, None]
    moved = images[
        number, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return moved.mul_(inside)
