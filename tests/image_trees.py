"""Small CheXpert trees with images, written for tests of what reads them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.chexpert import read_tree
from bench.data.split import Split
from tests.chexpert_csv import HEADER


def picture(number: int, side: int = 32) -> Image.Image:
    """A grey image that differs from every other number's."""
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, size=(side, side), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def write_tree(root: Path, files: dict[str, bytes | None]) -> Split:
    """A tree whose ``train.csv`` names those files in order, and its split; None is not written."""
    root.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        if data is not None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    rows = [f"{path},Male,60,Frontal,AP{',' * 14}" for path in files]
    (root / "train.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return read_tree(root).splits["train"]


def patient_path(number: int, suffix: str = "png") -> str:
    return f"train/patient{number:05d}/study1/view1_frontal.{suffix}"


def numbered_tree(root: Path, count: int, side: int = 32) -> Split:
    """``count`` patients with one picture each, numbered from 0."""
    return write_tree(root, {patient_path(n): encoded(picture(n, side)) for n in range(count)})
