"""A results folder as one HTML page that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench import __version__
from bench.errors import ResultsError
from bench.report import curves, figures, roc_sheet
from bench.report.figures import DISTINCT
from bench.report.formats import SYNTHETIC
from bench.report.formats.html import template, view
from bench.report.provenance import provenance_tables, settings_tables
from bench.report.roc import panels_of, tasks_panel
from bench.report.run_tables import condition_table, cost_table, site_table, summary_table
from bench.report.table import Table
from bench.report.traffic import traffic_table
from bench.results.ownership import actual_status
from bench.results.run import Run

Published = Callable[[Run, str], Mapping[str, str]]
"""From a run and a split to the published figures beside ours, see ``roc.draw_run``."""

SHOWN = 4
"""So many ROC figures are shown of a run without a competition task."""


def nothing_published(run: Run, split: str) -> Mapping[str, str]:
    """Figures without published values."""
    return {}


def report_page(
    runs: Sequence[Run],
    *,
    title: str = "Results",
    tables: Sequence[Table] = (),
    notes: Sequence[str] = (),
    published: Published = nothing_published,
) -> str:
    """The page. Everything that comes from the runs is escaped; equal runs give equal pages.

    ``tables`` are comparisons and stand below the summary, with ``notes`` above them. Scores that
    cannot be read are said to be missing where their figure would stand; a damaged round log
    raises ResultsError.
    """
    with figures.style():
        illustrations = _Illustrations()
        parts = [_run_part(run, illustrations, published) for run in runs]
        training = [illustrations.training(suite, own) for suite, own in _by_suite(runs).items()]
    splits = list(dict.fromkeys(split for run in runs for split in run.metrics)) or ["valid"]
    return template("report.html").render(
        heading=title,
        synthetic=_banner(runs),
        summaries=[view(_plain(table)) for split in splits for table in _summaries(runs, split)],
        comparisons=[view(_plain(table)) for table in tables],
        notes=notes,
        training=training,
        runs=parts,
        cost=view(_plain(cost_table(runs))),
        settings=[view(table) for table in settings_tables(runs)],
        provenance=[view(table) for table in provenance_tables(runs)],
        version=__version__,
    )


def _summaries(runs: Sequence[Run], split: str) -> list[Table]:
    sites = site_table(runs, split)
    sent = traffic_table(runs, split)
    return [summary_table(runs, split), *(table for table in (sites, sent) if table is not None)]


def _plain(table: Table) -> Table:
    """Without the table's own banner: the page's stands above everything, with the runs' names."""
    from dataclasses import replace

    return replace(table, synthetic=False)


def _banner(runs: Sequence[Run]) -> str | None:
    made = [run.name for run in runs if run.synthetic]
    if not made:
        return None
    if len(made) == len(runs):
        return SYNTHETIC
    return f"{SYNTHETIC} This holds for {len(made)} of {len(runs)} runs: {', '.join(made)}."


def _by_suite(runs: Sequence[Run]) -> dict[str, list[Run]]:
    suites: dict[str, list[Run]] = {}
    for run in runs:
        suites.setdefault(run.suite, []).append(run)
    return suites


def _run_part(run: Run, illustrations: _Illustrations, published: Published) -> dict[str, Any]:
    """What the template shows of one run."""
    scored = []
    for split in run.metrics:
        try:
            drawn, missing = illustrations.roc(run, split, published(run, split)), None
        except ResultsError as error:
            drawn, missing = [], error.what
        table = view(_plain(condition_table(run, split)))
        scored.append({"figures": drawn, "missing": missing, "table": table})
    return {
        "anchor": f"run-{illustrations.next_anchor()}",
        "name": run.name,
        "suite": run.suite,
        "status": actual_status(run),
        "synthetic": run.synthetic,
        "error": (run.error or {}).get("message"),
        "splits": scored,
    }


class _Illustrations:
    """Figures as SVG elements, numbered so that no two share an id."""

    def __init__(self) -> None:
        self._number = 0
        self._anchors = 0

    def next_anchor(self) -> int:
        """1, 2, …: names of runs are no safe ids."""
        self._anchors += 1
        return self._anchors

    def roc(self, run: Run, split: str, published: Mapping[str, str]) -> list[Any]:
        """The competition tasks' figure, or where none is defined those of the conditions."""
        tasks = tasks_panel(run, split, published)
        panels = [tasks] if tasks else panels_of(run, split, published)[:SHOWN]
        return [
            self._inline(roc_sheet.sheet(panel), f"ROC curves of {run.name}: {panel.heading}")
            for panel in panels
        ]

    def training(self, suite: str, runs: Sequence[Run]) -> dict[str, Any]:
        """The training curves of a suite, in as many figures as keep its lines apart."""
        drawn = []
        for start in range(0, len(runs), DISTINCT):
            part = runs[start : start + DISTINCT]
            heading = part[0].name if len(runs) == 1 else f"Suite {suite}"
            progress = curves.progress_of(part, heading)
            drawn.append(self._inline(curves.sheet(progress), f"Training curves: {heading}"))
        return {"suite": suite, "figures": drawn}

    def _inline(self, sheet: figures.Sheet, description: str) -> Any:
        from markupsafe import Markup

        self._number += 1
        # Matplotlib escapes what it writes into an SVG, and the description is escaped there.
        return Markup(figures.inline(sheet.figure, f"f{self._number}", description))
