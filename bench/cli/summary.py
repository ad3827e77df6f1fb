"""What ``bench run`` prints when the scenarios are through."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from bench.errors import NotComparable

if TYPE_CHECKING:
    from bench.comparison.rows import Comparison
    from bench.report.table import Table
    from bench.results.run import Run
    from bench.runs.executor import Outcome

NO_TABLE = "none"


def print_summary(outcome: Outcome, *, against: str, as_json: bool) -> None:
    """Results on stdout: the scores of every run, then the differences from ``against``."""
    from bench.comparison.render import tables_of
    from bench.report.render import emit, render_json, render_many

    comparisons, reason = _compare(outcome, against)
    results = results_table(outcome)
    if as_json:
        extra: dict[str, Any] = {
            "suite": outcome.suite,
            "failures": [{"name": f.name, "message": f.message} for f in outcome.failures],
            "interrupted": outcome.interrupted,
            "comparisons": [[row.json() for row in c.rows] for c in comparisons],
        }
        emit(render_json(results, **extra), None)
        return
    if outcome.runs:
        emit(render_many([*tables_of(comparisons), results], "table"), None)
    if reason is not None:
        print(f"no table of differences: {reason}", file=sys.stderr)
    if outcome.failures:
        names = ", ".join(failure.name for failure in outcome.failures)
        print(f"bench: failed, as said above: {names}", file=sys.stderr)
    if outcome.interrupted:
        print("interrupted; the same command carries on from here", file=sys.stderr)


def _compare(outcome: Outcome, against: str) -> tuple[list[Comparison], str | None]:
    """The comparisons, or why there are none: other data has other conditions, for instance."""
    from bench.comparison.command import compare_all

    if against == NO_TABLE or not outcome.runs:
        return [], None
    try:
        comparisons, _ = compare_all([run.folder for run in outcome.runs], against)
    except NotComparable as error:
        return [], error.message()
    return comparisons, None


def results_table(outcome: Outcome) -> Table:
    """A row a run: its headline with interval, speed and traffic."""
    from bench.report.table import Column, Table, decimals, interval
    from bench.runs.reporting import duration

    columns = (
        Column(key="run", title="Scenario"),
        Column(
            key="mean_auroc",
            title="Mean AUROC",
            write=decimals(3),
            align="right",
            missing="undefined",
        ),
        Column(key="mean_ci", title="95 % interval", write=interval(3), align="right"),
        Column(key="tasks", title="Tasks", align="right"),
        Column(key="seconds", title="Training", write=duration, align="right"),
        Column(key="images_per_second", title="Images/s", write=decimals(0), align="right"),
        Column(key="bytes", title="Sent", write=_size, align="right"),
    )
    return Table(
        title=f"Suite {outcome.suite}: study-level AUROC on the split 'valid'",
        columns=columns,
        rows=tuple(_row(run) for run in outcome.runs),
        notes=tuple(outcome.notes),
        synthetic=any(run.synthetic for run in outcome.runs),
    )


def _row(run: Run) -> dict[str, Any]:
    block = run.metrics["valid"]
    return {
        "run": run.name,
        "folder": str(run.folder),
        "mean_auroc": block["mean_auroc"],
        "mean_ci": block["mean_ci"],
        "tasks": f"{len(block['mean_over'])} of 5",
        "observations": block["observations"],
        "seconds": run.totals["seconds"],
        "images_per_second": run.totals["images_per_second"],
        "bytes": run.totals["bytes_up"] + run.totals["bytes_down"],
    }


def _size(count: int) -> str:
    """Bytes as people read them, in powers of 1000."""
    value, units = float(count), ("B", "kB", "MB", "GB", "TB")
    for unit in units:
        if value < 1000 or unit == units[-1]:
            return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
