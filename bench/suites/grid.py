"""Products of rows: the grid of a suite, and the grid of one of its ``include`` rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bench.errors import SuiteError
from bench.suites.layers import Cell, InFile, Layer, Patch, check_key, entry, layer
from bench.suites.wording import shown

MOST_SCENARIOS = 100_000
"""A suite with more is a slip of the pen; the largest sweep in the literature has thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Values that are the same in every row, and axes whose values are all combined."""

    fixed: tuple[Cell | Patch, ...] = ()
    axes: tuple[tuple[Cell | Patch, ...], ...] = ()

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in self.axes)

    def layers(self) -> Iterator[Layer]:
        """One layer a combination, the last axis changing fastest."""
        for values in product(*self.axes):
            yield layer([*self.fixed, *values])

    def varied(self) -> set[str]:
        """The keys of a scenario that the axes vary."""
        return {axis[0].field.name for axis in self.axes}


def grid_axes(grid: Mapping[str, Sequence[Any]], source: InFile, label: str) -> Axes:
    """The axes of a ``grid`` block; raises SuiteError."""
    axes = []
    for key, values in grid.items():
        place = source.under(key)
        check_key(key, place)
        axes.append(tuple(entry(key, v, place.under(i), label) for i, v in enumerate(values)))
    return Axes(axes=tuple(axes))


def include_axes(row: Mapping[str, Any], source: InFile, label: str) -> Axes:
    """One ``include`` row: its values, and the axes of a ``grid`` of its own; raises SuiteError."""
    values = {key: raw for key, raw in row.items() if key != "grid"}
    fixed = tuple(entry(key, raw, source.under(key), label) for key, raw in values.items())
    if "grid" not in row:
        return Axes(fixed=fixed)
    inner, place = row["grid"], source.under("grid")
    if not isinstance(inner, dict):
        raise _no_grid("a mapping from keys to lists of values", inner, place)
    for key, values in inner.items():
        if not isinstance(values, list) or not values:
            raise _no_grid(f"a list of the values of '{key}'", values, place.under(key))
    return Axes(fixed=fixed, axes=grid_axes(inner, place, label).axes)


def _no_grid(expected: str, found: Any, place: InFile) -> SuiteError:
    return SuiteError(
        "the grid of an include row is not what it must be",
        where=place.where(),
        expected=expected,
        found=shown(found),
        mend="grid: {seed: [0, 1, 2]}",
    )


def check_size(axes: Sequence[Axes], source: InFile) -> None:
    """Raises SuiteError where the rows together are more than :data:`MOST_SCENARIOS`."""
    total = sum(len(a) for a in axes)
    if total > MOST_SCENARIOS:
        raise SuiteError(
            "the suite has too many scenarios",
            where=source.where(),
            expected=f"at most {MOST_SCENARIOS:,}",
            found=f"{total:,}",
            mend="split it into several suites",
        )
