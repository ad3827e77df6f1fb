"""Idx files of drawn digits, so few and so easy that a run of them takes seconds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

TRAIN, TEST, SIDE = 400, 100, 28

SUITE = """\
suite: digits
defaults:
  dataset: mnist
  backbone: 2nn
  image_size: 28
  clients: 10
  fraction: 0.3
  batch_size: 10
  optimizer: {name: sgd, lr: 0.1}
  precision: fp32
"""


def write_digits(folder: Path, *, train: int = TRAIN, test: int = TEST, seed: int = 0) -> Path:
    """Digit d is a bright bar at row 2d + 4 on a noisy ground; labels count 0 to 9 in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for part, number in (("train", train), ("t10k", test)):
        labels = np.arange(number) % 10
        images = rng.integers(0, 90, size=(number, SIDE, SIDE), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6, 4:24] += 120
        header = struct.pack(">4I", 0x0803, number, SIDE, SIDE)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">2I", 0x0801, number)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            header + labels.astype(np.uint8).tobytes()
        )
    return folder
