"""Values laid over each other: every one knows its text, its canonical form and where it is from.

From the bottom up: bench's defaults, the suite's ``defaults``, a profile, a row of the grid or of
``include``, the command line. A whole key (``strategy: fedprox``) replaces what lies below it; a
dotted key (``strategy.mu: 0.1``) changes one part of it and comes after the whole keys of its own
layer.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bench.errors import SuiteError, Where
from bench.suites.document import Document
from bench.suites.fields import FIELDS, Composite, Field, canonical, find
from bench.suites.kinds import Mismatch

BUILT_IN = "bench's default"


class Source(Protocol):
    """Where a value was written."""

    def where(self, path: tuple[str | int, ...], *, on_key: bool) -> Where | str:
        """The place of a part of it."""
        ...


@dataclass(frozen=True, slots=True)
class InFile:
    """A value in a document, at ``path``."""

    document: Document
    path: tuple[str | int, ...]

    def where(self, path: tuple[str | int, ...] = (), *, on_key: bool = False) -> Where:
        """The place of a part of it."""
        whole = (*self.path, *path)
        return self.document.where_key(whole) if on_key else self.document.where(whole)

    def under(self, *parts: str | int) -> InFile:
        """The place of something in it."""
        return InFile(self.document, (*self.path, *parts))


@dataclass(frozen=True, slots=True)
class OnCommandLine:
    """An override, as it was typed."""

    text: str

    def where(self, path: tuple[str | int, ...] = (), *, on_key: bool = False) -> str:
        """The override, whichever part is meant."""
        return f"-s {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """The value of a whole key."""

    field: Field
    raw: Any
    value: Hashable
    """The canonical form of ``raw``."""
    origin: str
    source: Source | None
    """None for a default of bench, which cannot be wrong by itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """The value of one part of a key."""

    field: Field
    part: str
    raw: Any
    origin: str
    source: Source


Cells = dict[str, Cell]
"""One cell for every key of a scenario."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Values that lie on one level."""

    cells: Cells
    patches: tuple[Patch, ...] = ()


def built_in() -> Cells:
    """What a scenario is unless a suite says otherwise."""
    return {
        name: Cell(
            field=field,
            raw=field.default,
            value=canonical(field, field.default),
            origin=BUILT_IN,
            source=None,
        )
        for name, field in FIELDS.items()
    }


def entry(key: str, raw: Any, source: Source, label: str) -> Cell | Patch:
    """One ``key: value`` or ``key.part: value``; raises SuiteError at its place."""
    field, part = check_key(key, source)
    origin = (
        label
        if isinstance(source, OnCommandLine)
        else f"{label} ({source.where((), on_key=False)})"
    )
    if part is not None:
        return Patch(field=field, part=part, raw=raw, origin=origin, source=source)
    try:
        value = canonical(field, raw)
    except Mismatch as bad:
        raise wrong(bad, source) from None
    return Cell(field=field, raw=raw, value=value, origin=origin, source=source)


def check_key(key: str, source: Source) -> tuple[Field, str | None]:
    """The field, and the part of it, that a key names; raises SuiteError at its place."""
    try:
        return find(key)
    except Mismatch as bad:
        raise wrong(bad, source) from None


def layer(entries: list[Cell | Patch]) -> Layer:
    """The entries as a layer; of two whole cells for one key the later counts."""
    return Layer(
        cells={e.field.name: e for e in entries if isinstance(e, Cell)},
        patches=tuple(e for e in entries if isinstance(e, Patch)),
    )


def mapping_layer(values: Mapping[str, Any], source: InFile, label: str) -> Layer:
    """A mapping of a suite as a layer."""
    return layer([entry(key, raw, source.under(key), label) for key, raw in values.items()])


def wrong(bad: Mismatch, source: Source | None) -> SuiteError:
    """The mismatch as an error at its place."""
    return SuiteError(
        bad.what or "this value is not what it must be",
        where=None if source is None else source.where(bad.path, on_key=bad.on_key),
        expected=bad.expected,
        found=bad.found,
        mend=bad.mend,
    )


class Overlay:
    """Lays layers over cells; a cell and a patch that meet again give the same cell again."""

    def __init__(self) -> None:
        self._patched: dict[tuple[Cell, Patch], Cell] = {}

    def __call__(self, below: Cells, above: Layer) -> Cells:
        """The cells with the layer over them; raises SuiteError where a patch does not fit."""
        cells = below | above.cells
        for patch in above.patches:
            name = patch.field.name
            key = (cells[name], patch)
            if key not in self._patched:
                self._patched[key] = _patched(*key)
            cells[name] = self._patched[key]
        return cells


def _patched(cell: Cell, patch: Patch) -> Cell:
    kind = patch.field.kind
    assert isinstance(kind, Composite)
    raw = kind.patched(cell.raw, patch.part, patch.raw)
    try:
        value = canonical(patch.field, raw)
    except Mismatch as bad:
        if bad.path[:1] == (patch.part,):
            bad.path = bad.path[1:]
            raise wrong(bad, patch.source) from None
        raise wrong(bad, cell.source or patch.source) from None
    origin = f"{cell.origin}; {patch.part} from {patch.origin}"
    return Cell(field=cell.field, raw=raw, value=value, origin=origin, source=cell.source)
