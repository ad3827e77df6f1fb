"""Suites: files that say which scenarios to run.

A suite is ``suite``, ``description``, ``defaults``, ``grid``, ``include``, ``exclude``,
``names``, ``profiles`` and ``gates``. Its scenarios are

1. every combination of the values in ``grid``, the last key changing fastest; with neither
   ``grid`` nor ``include``, the one scenario of the defaults;
2. then one for each row of ``include``, which is laid over the defaults and knows nothing of the
   grid; a row with a ``grid`` of its own stands for its combinations;
3. without those that match a row of ``exclude`` in every value the row names, as they stand
   before the command line's overrides.

``names`` lists the keys that the scenarios' names are made of, where not all that vary should be.

Values lie in layers (see :mod:`bench.suites.layers`): defaults, profile, grid or include row,
command line. Scenarios that are equal in the end, because a key has no meaning for them or an
override made them so, are kept once, and a note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import SuiteError, did_you_mean
from bench.locations import shipped
from bench.suites.document import Document, load, validate
from bench.suites.fields import FIELDS
from bench.suites.gates import Gates, GatesBlock
from bench.suites.grid import Axes, check_size, grid_axes, include_axes
from bench.suites.kinds import Mismatch
from bench.suites.layers import (
    Cells,
    InFile,
    Layer,
    Overlay,
    built_in,
    mapping_layer,
    wrong,
)
from bench.suites.matching import Test, matcher
from bench.suites.naming import Named, names
from bench.suites.overrides import override_layer
from bench.suites.rules import settle
from bench.suites.scenario import Scenario
from bench.suites.select import predicate

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
"""A suite's name is a folder's."""

PHANTOM_PROFILE = "phantom"
"""The profile that is laid over the defaults where the data is synthetic: the only one there is."""

Row = dict[str, Any]
NonEmptyRow = Annotated[Row, Field(min_length=1)]


class SuiteFile(BaseModel):
    """A suite as written; what the keys of a scenario take is checked by the layers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    suite: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$", max_length=60)]
    description: str = ""
    defaults: Row = {}
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    include: list[NonEmptyRow] = []
    exclude: list[NonEmptyRow] = []
    names: list[str] = []
    profiles: dict[str, Row] = {}
    gates: GatesBlock = GatesBlock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A scenario of a suite, under its name there."""

    name: str
    scenario: Scenario
    origin: dict[str, str]
    """For every key of the scenario, where its value comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """The scenarios of a suite, and what a person should know about how they came to be."""

    scenarios: list[Planned]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exclusion:
    number: int
    place: str
    tests: tuple[tuple[str, Test], ...]

    def matches(self, cells: Cells) -> bool:
        return all(test(cells[key].value) for key, test in self.tests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite that has been read; every value in it has been checked by itself."""

    name: str
    description: str
    gates: Gates
    document: Document
    profiles: dict[str, Layer]
    defaults: Layer
    rows: tuple[Axes, ...]
    excluded: tuple[_Exclusion, ...]
    shown: tuple[str, ...] = ()
    """The keys that names are made of; empty where whatever varies is shown."""

    @property
    def file(self) -> str:
        """The path it was read from, as given; ``suites/…`` for one that ships with bench."""
        return self.document.file

    def scenarios(
        self,
        overrides: Sequence[str] = (),
        select: str | None = None,
        profile: str | None = None,
    ) -> list[Planned]:
        """The scenarios of :meth:`expand`."""
        return self.expand(overrides, select, profile).scenarios

    def expand(
        self,
        overrides: Sequence[str] = (),
        select: str | None = None,
        profile: str | None = None,
    ) -> Expansion:
        """The suite's scenarios in order.

        Parameters
        ----------
        overrides
            ``key=value`` as after ``-s``.
        select
            An expression as after ``-k``; names do not depend on it.
        profile
            :data:`PHANTOM_PROFILE`, to lay it over the defaults if the suite has it; or None.

        Raises
        ------
        SuiteError
            An override is wrong, or the values of a scenario do not go together.
        UsageError
            ``select`` cannot be read.
        """
        overlay = Overlay()
        base = overlay(built_in(), self.defaults)
        if profile in self.profiles:
            base = overlay(base, self.profiles[profile])
        rows = [overlay(base, layer) for axes in self.rows for layer in axes.layers()]
        kept, notes = self._without_excluded(rows)
        overrides_layer = override_layer(overrides)
        kept = [overlay(cells, overrides_layer) for cells in kept]
        settled, repeated = _distinct(kept)
        notes += repeated
        titles = names(
            [Named(scenario=s.scenario, without=s.fixed) for s in settled],
            always=self.rows[0].varied(),
            defaults=_values(overlay(base, overrides_layer)),
            only=self.shown,
        )
        wanted = predicate(select) if select is not None else None
        scenarios = [
            Planned(name=name, scenario=s.scenario, origin=s.origin)
            for name, s in zip(titles, settled, strict=True)
            if wanted is None or wanted(name, s.scenario)
        ]
        return Expansion(scenarios=scenarios, notes=tuple(notes))

    def _without_excluded(self, rows: list[Cells]) -> tuple[list[Cells], list[str]]:
        if not self.excluded:
            return rows, []
        used: set[int] = set()
        kept = []
        for cells in rows:
            hits = [e for e in self.excluded if e.matches(cells)]
            used.update(e.number for e in hits)
            if not hits:
                kept.append(cells)
        notes = [
            f"{e.place}: this exclude row matches no scenario"
            for e in self.excluded
            if e.number not in used
        ]
        return kept, notes


def load_suite(name: str | Path) -> Suite:
    """Reads the suite in that file, or the shipped suite of that name.

    Raises SuiteError with the place of the first thing that is wrong.
    """
    document = _find(str(name))
    model = validate(document, SuiteFile)
    source = InFile(document, ())
    for profile in model.profiles:
        _check_profile(profile, source.under("profiles", profile))
    include = source.under("include")
    rows = [
        include_axes(row, include.under(i), f"include row {i + 1}")
        for i, row in enumerate(model.include)
    ]
    if model.grid or not model.include:
        rows.insert(0, grid_axes(model.grid, source.under("grid"), "grid"))
    check_size(rows, source)
    return Suite(
        name=model.suite,
        description=model.description.strip(),
        gates=model.gates.gates(),
        document=document,
        defaults=mapping_layer(model.defaults, source.under("defaults"), "defaults"),
        profiles={
            key: mapping_layer(values, source.under("profiles", key), f"profile {key}")
            for key, values in model.profiles.items()
        },
        rows=tuple(rows),
        excluded=tuple(
            _exclusion(i, row, source.under("exclude", i)) for i, row in enumerate(model.exclude)
        ),
        shown=tuple(_shown(key, source.under("names", i)) for i, key in enumerate(model.names)),
    )


def shipped_suites() -> list[str]:
    """The names of the suites that ship with bench."""
    return sorted(path.stem for path in shipped("suites").glob("*.yaml"))


def _find(name: str) -> Document:
    path = Path(name)
    known = shipped_suites()
    if path.exists() and not (path.is_dir() and name in known):  # a folder of that suite's runs
        return load(path)
    if path.suffix in ("", ".yaml") and str(path.parent) in (".", "suites") and path.stem in known:
        return load(shipped("suites") / f"{path.stem}.yaml", name=f"suites/{path.stem}.yaml")
    raise SuiteError(
        "no such suite",
        where=name,
        expected="a file, or a shipped suite: " + ", ".join(known),
        mend=did_you_mean(path.stem, known),
    )


def _exclusion(number: int, row: Row, source: InFile) -> _Exclusion:
    tests = []
    for key, wanted in row.items():
        try:
            tests.append(matcher(key, wanted))
        except Mismatch as bad:
            raise wrong(bad, source.under(key)) from None
    return _Exclusion(number=number, place=str(source.where()), tests=tuple(tests))


def _check_profile(name: str, source: InFile) -> None:
    """A profile that nothing asks for would be passed over without a word."""
    if name != PHANTOM_PROFILE:
        raise SuiteError(
            f"no data asks for a profile '{name}'",
            where=source.where(on_key=True),
            expected=f"'{PHANTOM_PROFILE}', for where the data is synthetic",
            mend=did_you_mean(name, [PHANTOM_PROFILE]) or "write a suite of its own",
        )


def _shown(key: str, source: InFile) -> str:
    """A key of ``names``: a whole key of a scenario."""
    if key not in FIELDS:
        raise SuiteError(
            f"names are made of whole keys of a scenario, which '{key}' is not",
            where=source.where(),
            expected=", ".join(FIELDS),
            mend=did_you_mean(key, list(FIELDS)),
        )
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    scenario: Scenario
    origin: dict[str, str]
    fixed: frozenset[str]
    """Keys that have no meaning in it."""


def _distinct(rows: list[Cells]) -> tuple[list[_Settled], list[str]]:
    """Each scenario once, and a note where some were equal."""
    found: dict[Scenario, _Settled] = {}
    for cells in rows:
        try:
            scenario, reasons = settle({key: cell.value for key, cell in cells.items()})
        except Mismatch as bad:
            raise _at_cell(bad, cells) from None
        origin = {key: cell.origin for key, cell in cells.items()}
        for key, reason in reasons.items():
            if getattr(scenario, key) != cells[key].value:
                origin[key] = f"fixed: {reason}"
        settled = _Settled(scenario=scenario, origin=origin, fixed=frozenset(reasons))
        found.setdefault(scenario, settled)
    lost = len(rows) - len(found)
    noun = "scenario is" if lost == 1 else "scenarios are"
    notes = [f"{lost:,} {noun} equal to another and left out"] if lost else []
    return list(found.values()), notes


def _values(cells: Cells) -> dict[str, Any]:
    """The canonical values of the suite's own defaults, which need not go together."""
    values = {key: cell.value for key, cell in cells.items()}
    try:
        scenario, _ = settle(values)
    except Mismatch:
        return values
    return values | {"label_policy": scenario.label_policy}


def _at_cell(bad: Mismatch, cells: Cells) -> SuiteError:
    """What is wrong between the keys of a scenario, at the key that is at fault.

    Where that is one of bench's defaults, at the strategy, or at anything the suite says.
    """
    key, *rest = bad.path
    bad.path = tuple(rest)
    candidates = (cells[str(key)], cells["strategy"], *cells.values())
    return wrong(bad, next((c.source for c in candidates if c.source is not None), None))
