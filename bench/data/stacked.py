"""The images of several packs, one behind the other, none of them copied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Stacked:
    """(n, size, size) uint8 images that lie in several arrays, memory maps included.

    Row i is row i of what ``np.concatenate(parts)`` would be. Only :meth:`take` copies pixels,
    and only those of the rows asked for.
    """

    parts: tuple[NDArray[np.uint8], ...]
    """Each (n_i, size, size)."""
    starts: NDArray[np.int64]
    """(p + 1,) the row of each part's first image; the last is n."""

    def __init__(self, images: Sequence[Images]) -> None:
        arrays: list[NDArray[np.uint8]] = []
        for one in images:
            arrays += one.parts if isinstance(one, Stacked) else (one,)
        assert len({part.shape[1:] for part in arrays}) == 1, "none, or of different sizes"
        self.parts = tuple(arrays)
        self.starts = np.concatenate(([0], np.cumsum([len(part) for part in arrays])))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, size, size)."""
        return (len(self), *self.parts[0].shape[1:])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(k, size, size) the images of (k,) ``rows``, in that order."""
        taken = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for part, places, own in self.located(rows):
            taken[places] = self.parts[part][own]
        return taken

    def located(
        self, rows: NDArray[np.int64]
    ) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """For each part that has any of the rows: its number, their places in ``rows``, and their
        rows in the part."""
        part = np.searchsorted(self.starts, rows, side="right") - 1
        found = []
        for number in np.unique(part).tolist():
            places = np.flatnonzero(part == number)
            found.append((number, places, rows[places] - self.starts[number]))
        return found


Images = NDArray[np.uint8] | Stacked
"""(n, size, size) uint8, in one array or in several."""
