"""Rounds to target as tables, and which runs go into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.baselines import Baseline, load_group
from bench.comparison.rounds import (
    BEYOND,
    METRIC,
    NO_WORSE,
    NOT_REACHED,
    NOT_RUN,
    SUITE,
    WITHIN,
    RoundsRow,
    cells_of,
    compare_rounds,
    usable,
)
from bench.errors import BaselineError, NotComparable
from bench.report.render import render, render_json, render_many
from bench.report.table import Column, Table, decimals
from bench.results.run import Run
from bench.suites.suite import load_suite


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundsComparison:
    """One published table with our rounds beside its own."""

    table: Baseline
    rows: tuple[RoundsRow, ...]

    @property
    def run(self) -> int:
        """Cells there are runs of."""
        return sum(bool(row.reached) for row in self.rows)


def publishes_rounds(against: str, folder: Path | None = None) -> bool:
    """Whether the name stands for tables of rounds to target."""
    try:
        return any(METRIC in table.metrics for table in load_group(against, folder))
    except BaselineError:
        return False


def compare_with_rounds(
    runs: Sequence[Run], against: str, folder: Path | None = None
) -> tuple[list[RoundsComparison], list[str]]:
    """Each table that ``against`` stands for, and notes on what was left out.

    Raises NotComparable where none of the runs belongs to any of their cells.
    """
    scenarios = {p.name: p.scenario.row() for p in load_suite(SUITE).scenarios()}
    found, notes = [], []
    for table in load_group(against, folder):
        if not cells_of(table):
            notes.append(f"{table.id} is left out: it is on {table.dataset}, not MNIST")
            continue
        rows = compare_rounds(runs, table, scenarios)
        found.append(RoundsComparison(table=table, rows=tuple(rows)))
    notes += [
        f"{run.name} is left out: it is on {run.data.get('name')}"
        for run in runs
        if not usable(run)
    ]
    used = {name for comparison in found for row in comparison.rows for name in row.runs}
    if not used:
        raise NotComparable(
            f"no run is a cell of '{against}'",
            found="; ".join(notes) or f"{len(runs)} runs, none of which does what the paper did",
            mend=f"`bench run {SUITE} --data FOLDER` runs the cells",
        )
    return found, notes


def rounds_table(comparison: RoundsComparison, *, everything: bool = True) -> Table:
    """The cells of one table; without ``everything`` only those that were run."""
    rows = [row for row in comparison.rows if everything or row.reached]
    citation = comparison.table.citation
    return Table(
        title=f"Rounds to target beside {citation.table} of McMahan et al. {citation.year}",
        columns=_columns(rows),
        rows=tuple(
            row.json() | {"run": _how(row), "paper": row.cell.theirs.text()} for row in rows
        ),
        notes=tuple(_notes(comparison, rows)),
        rule_before=tuple(_rules(rows)),
    )


def write_rounds(comparisons: Sequence[RoundsComparison], form: str, **looks: Any) -> str:
    """A table each for people; ``csv`` and ``json`` hold every cell of all of them, flat.

    ``looks`` are :func:`bench.report.render.render`'s width and colour.
    """
    if form not in ("csv", "json"):
        return render_many([rounds_table(c) for c in comparisons], form, **looks)
    rows = [row.json() for comparison in comparisons for row in comparison.rows]
    keys = [key for key in rows[0] if not isinstance(rows[0][key], list)] if rows else []
    flat = Table(
        title="Rounds to target",
        columns=tuple(Column(key=key, title=key, write=_plain, missing="") for key in keys),
        rows=tuple(rows),
        notes=tuple(note for c in comparisons for note in _notes(c, c.rows)),
    )
    return render_json(flat) if form == "json" else render(flat, "csv")


def _columns(rows: Sequence[RoundsRow]) -> tuple[Column, ...]:
    def number(key: str, title: str, write: Any = str, **more: Any) -> Column:
        return Column(key=key, title=title, write=write, align="right", **more)

    spread = [number("ours_sd", "± sd", decimals(1))] if any(r.sd is not None for r in rows) else []
    unrun = (
        [Column(key="run", title="To run", missing="")] if any(not r.reached for r in rows) else []
    )
    return (
        Column(key="model", title="Model"),
        Column(key="partition", title="Digits"),
        number("E", "E"),
        number("B", "B"),
        number("C", "C", _short),
        number("target", "Target", _percent),
        number("lr", "lr", _short),
        number("ours", "Ours", decimals(1), emphasis=_emphasis),
        *spread,
        number("paper", "Paper"),
        number("ratio", "Ours/paper", decimals(2), emphasis=_emphasis),
        number("speed_up", "Speed-up", _times),
        number("theirs_speed_up", "Paper's", _times),
        Column(key="verdict", title="Verdict", emphasis=_emphasis),
        *unrun,
    )


def _how(row: RoundsRow) -> str | None:
    """The selection that runs a cell which was not."""
    return None if row.reached or row.scenario is None else f"-k {row.scenario}"


def _notes(comparison: RoundsComparison, rows: Sequence[RoundsRow]) -> list[str]:
    verdicts = Counter(_kind(row) for row in comparison.rows)
    told = [f"{verdicts[kind]} {kind}" for kind in _KINDS if verdicts[kind]]
    notes = [
        f"{comparison.run} of {len(comparison.rows)} cells were run: {', '.join(told)}",
        "rounds to the target on the test images: best so far, interpolated linearly; speed-ups "
        "are over the first row of a model, a division of the digits and, in Table 1, a B",
    ]
    tried = max((row.tried for row in rows), default=0)
    if tried > 1:
        notes.append(
            f"lr: the best of up to {tried} tried, by rounds on the test images, as the paper chose"
        )
    seeds = {len(row.reached) for row in rows if row.reached}
    if seeds:
        span = f"{min(seeds)} to {max(seeds)} seeds" if len(seeds) > 1 else f"{max(seeds)} seed(s)"
        notes.append(f"ours: the mean over seeds where there are several; {span} a cell")
    if any(_how(row) for row in rows):
        notes.append(
            f"a cell that was not run is run by `bench run {SUITE} --data FOLDER` with what stands "
            "under 'To run'"
        )
    return notes


_KINDS = (NO_WORSE, WITHIN, BEYOND, NOT_REACHED, NOT_RUN)


def _kind(row: RoundsRow) -> str:
    """The verdict without its details."""
    return next(kind for kind in _KINDS if row.verdict.startswith(kind))


def _rules(rows: Sequence[RoundsRow]) -> list[int]:
    """A rule where the model or the division changes."""
    group = [(row.cell.model, row.cell.division) for row in rows]
    return [i for i in range(1, len(rows)) if group[i] != group[i - 1]]


def _emphasis(row: Mapping[str, Any]) -> str | None:
    verdict = row["verdict"]
    if verdict == NO_WORSE:
        return "good"
    return "bad" if verdict.startswith((BEYOND, NOT_REACHED)) else "dim"


def _short(value: float) -> str:
    return f"{value:g}"


def _percent(value: float) -> str:
    return f"{100 * value:g} %"


def _times(value: float) -> str:
    return f"{value:.1f}×"


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
