"""The images and labels that scenarios train on and are scored on, decoded once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.pack import pack
from bench.data.split import Split, Tree
from bench.errors import DataError

Progress = Callable[[str, int, int], None]
"""Called with (split, images done, images in all) while images are decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A split with its decoded images; row i of one is row i of the other."""

    split: Split
    images: NDArray[np.uint8]
    """(n, size, size) grey, memory-mapped."""
    skipped: int
    """Images that could not be read and were left out (``--on-bad-image skip``)."""

    def counts(self) -> dict[str, int]:
        """What run.json keeps of a split."""
        return {
            "images": len(self.split),
            "studies": len(self.split.studies),
            "patients": len(self.split.patients),
            "skipped": self.skipped,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A data tree at one image size."""

    tree: Tree
    size: int
    splits: dict[str, Labelled]

    @property
    def train(self) -> Labelled:
        """The training images."""
        return self.splits["train"]

    def evaluation(self) -> dict[str, Labelled]:
        """The splits that runs are scored on, ``valid`` first."""
        return {name: self.splits[name] for name in ("valid", "test") if name in self.splits}

    def record(self) -> dict[str, object]:
        """What run.json keeps of the data; no path, which would name somebody's machine."""
        return {
            "name": self.tree.name,
            "digest": self.tree.digest,
            "synthetic": self.tree.synthetic,
            "ideal_auroc": self.tree.ideal_auroc,
            "splits": {name: part.counts() for name, part in self.splits.items()},
        }


def prepare(
    tree: Tree,
    size: int,
    *,
    cache: Path,
    on_bad_image: Literal["fail", "skip"] = "fail",
    progress: Progress | None = None,
) -> Material:
    """Packs every split of the tree at that size and pairs the images with their labels.

    Raises DataError where an image cannot be read (unless skipped), or where there is nothing to
    train on or to score.
    """
    splits: dict[str, Labelled] = {}
    for name, split in tree.splits.items():
        if len(split) == 0:
            continue
        report = None if progress is None else _bound(progress, name)
        packed = pack(split, size=size, cache=cache, on_bad_image=on_bad_image, progress=report)
        kept = split if len(packed.rows) == len(split) else split.take(packed.rows)
        splits[name] = Labelled(split=kept, images=packed.images, skipped=len(packed.skipped))
    for name in ("train", "valid"):
        if name not in splits or len(splits[name].split) == 0:
            raise DataError(
                f"the tree has no {name} images",
                where=tree.root,
                expected=f"{name}.csv with at least one readable image",
                mend="every run trains on train.csv and is scored on valid.csv",
            )
    return Material(tree=tree, size=size, splits=splits)


def _bound(progress: Progress, name: str) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        progress(name, done, total)

    return report
