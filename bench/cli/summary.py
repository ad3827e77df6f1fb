"""What ``bench run`` prints when the scenarios are through."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.errors import NotComparable

if TYPE_CHECKING:
    from bench.comparison.rounds_table import RoundsComparison
    from bench.comparison.rows import Comparison
    from bench.report.headline import Headline
    from bench.report.table import Column, Table
    from bench.results.run import Run
    from bench.runs.executor import Outcome

NO_TABLE = "none"


def print_summary(outcome: Outcome, *, against: str, as_json: bool, quiet: bool) -> None:
    """Results on stdout: the scores of every run, then the differences from ``against``."""
    from bench.comparison.render import tables_of
    from bench.report.render import emit, render_json, render_many

    comparisons, reason = _compare(outcome, against)
    rounds = _rounds(outcome, against)
    results = results_tables(outcome)
    if as_json:
        extra: dict[str, Any] = {
            "suite": outcome.suite,
            "failures": [{"name": f.name, "message": f.message} for f in outcome.failures],
            "interrupted": outcome.interrupted,
            "comparisons": [[row.json() for row in c.rows] for c in comparisons],
            "rounds": [row.json() for c in rounds for row in c.rows if row.reached],
        }
        rows = tuple(row for table in results for row in table.rows)
        emit(render_json(replace(results[0], rows=rows), **extra), None)
        return
    if outcome.runs:
        tables = [
            *tables_of(comparisons),
            *([] if comparisons else _condition_tables(outcome)),
            *_rounds_tables(rounds),
            *_site_tables(outcome),
            *_traffic_tables(outcome),
            *results,
        ]
        emit(render_many(tables, "table"), None)
    if reason is not None and not quiet:
        print(f"no table of differences: {reason}", file=sys.stderr)
    if outcome.failures:
        names = ", ".join(failure.name for failure in outcome.failures)
        print(f"bench: failed, as said above: {names}", file=sys.stderr)
    if outcome.interrupted:
        print("interrupted; the same command carries on from here", file=sys.stderr)


def _compare(outcome: Outcome, against: str) -> tuple[list[Comparison], str | None]:
    """The comparisons of AUROCs, or why there are none: other data has other conditions."""
    from bench.comparison.command import compare_all
    from bench.comparison.rounds_table import publishes_rounds

    runs = [run.folder for run in outcome.runs if not _of_digits(run)]
    if against == NO_TABLE or not runs or publishes_rounds(against):
        return [], None
    try:
        comparisons, _ = compare_all(runs, against)
    except NotComparable as error:
        return [], error.message()
    return comparisons, None


def _rounds(outcome: Outcome, against: str) -> list[RoundsComparison]:
    """Rounds to target beside the published ones, for runs on MNIST; ``paper`` is McMahan's."""
    from bench.comparison.published import PAPER
    from bench.comparison.rounds import SUITE
    from bench.comparison.rounds_table import compare_with_rounds, publishes_rounds

    runs = [run for run in outcome.runs if _of_digits(run)]
    table = SUITE if against == PAPER else against
    if against == NO_TABLE or not runs or not publishes_rounds(table):
        return []
    try:
        return compare_with_rounds(runs, table)[0]
    except NotComparable:
        return []  # a suite of one's own on MNIST need not be a cell of the paper's


def _rounds_tables(rounds: list[RoundsComparison]) -> list[Table]:
    from bench.comparison.rounds_table import rounds_table

    return [rounds_table(comparison, everything=False) for comparison in rounds if comparison.run]


def _condition_tables(outcome: Outcome) -> list[Table]:
    """What each run scored by condition, where no comparison shows it."""
    from bench.report.run_tables import condition_table

    return [condition_table(run, "valid") for run in outcome.runs if not _of_digits(run)]


def _site_tables(outcome: Outcome) -> list[Table]:
    """How each run scored at each site, where the data has sites."""
    from bench.report.run_tables import site_table

    table = site_table(outcome.runs, "valid")
    return [] if table is None else [table]


def _traffic_tables(outcome: Outcome) -> list[Table]:
    """What each run sent beside what it scored, where they differ in that."""
    from bench.report.traffic import traffic_table

    table = traffic_table([run for run in outcome.runs if not _of_digits(run)], "valid")
    return [] if table is None else [table]


def _of_digits(run: Run) -> bool:
    return run.scenario.get("dataset") == "mnist"


def results_tables(outcome: Outcome) -> list[Table]:
    """A row a run, radiographs and digits in tables of their own."""
    radiographs = [run for run in outcome.runs if not _of_digits(run)]
    digits = [run for run in outcome.runs if _of_digits(run)]
    tables = []
    if radiographs or not digits:
        tables.append(_radiograph_table(outcome, radiographs))
    if digits:
        tables.append(_digit_table(outcome, digits))
    return tables


def _radiograph_table(outcome: Outcome, runs: list[Run]) -> Table:
    """The headline with interval, clients' own models, speed and traffic."""
    from bench.report.headline import headline_of
    from bench.report.table import Column, Table, decimals, interval

    headline = headline_of([run.metrics["valid"] for run in runs])
    rows = [_row(run, "valid") | _headline_row(run.metrics["valid"], headline) for run in runs]
    three = decimals(3)
    mean = headline.observation is None
    optional = [
        Column(key="personal_auroc", title="Clients' own", write=three, align="right"),
        Column(key="best_client", title="Best client", write=three, align="right"),
    ]
    shown = [c for c in optional if any(row.get(c.key) is not None for row in rows)]
    columns = (
        Column(key="run", title="Scenario"),
        Column(key="auroc", title=headline.title, write=three, align="right", missing="undefined"),
        Column(key="ci", title="95 % interval", write=interval(3), align="right"),
        *([Column(key="tasks", title="Tasks", align="right")] if mean else []),
        *shown,
        *_target_columns(runs),
        *_cost_columns(),
    )
    notes = list(outcome.notes)
    if any(column.key == "best_client" for column in shown):
        notes.append("Best client: the largest of the clients' own AUROCs, chosen by that score")
    return Table(
        title=f"Suite {outcome.suite}: study-level AUROC on the split 'valid'",
        columns=columns,
        rows=tuple(rows),
        notes=tuple(notes),
        synthetic=any(run.synthetic for run in runs),
    )


def _headline_row(block: dict[str, Any], headline: Headline) -> dict[str, Any]:
    """The headline's cells; clients have models of their own, or are the run's members."""
    own = block.get("personal", block)
    best = headline.best_member(own)
    row: dict[str, Any] = {"auroc": headline.auroc(block), "ci": headline.interval(block)}
    if "personal" in block:
        row |= {"personal": own, "personal_auroc": headline.auroc(own)}
    if best is not None:
        row |= {"best_client_name": best[0], "best_client": best[1]}
    return row


def _digit_table(outcome: Outcome, runs: list[Run]) -> Table:
    """Accuracy with interval, rounds and bytes to the target, speed and traffic."""
    from bench.report.table import Column, Table, decimals, interval

    columns = (
        Column(key="run", title="Scenario"),
        Column(key="accuracy", title="Accuracy", write=decimals(4), align="right"),
        Column(key="ci", title="95 % interval", write=interval(4), align="right"),
        *_target_columns(runs),
        *_cost_columns(),
    )
    return Table(
        title=f"Suite {outcome.suite}: accuracy on the test images",
        columns=columns,
        rows=tuple(_row(run, "test") for run in runs),
        notes=tuple(outcome.notes),
    )


def _target_columns(runs: list[Run]) -> list[Column]:
    """Rounds and bytes to the target, where any run has one."""
    from bench.report.table import Column
    from bench.report.units import byte_size
    from bench.runs.reporting import reached_text

    if not any(run.scenario.get("stop_at") for run in runs):
        return []
    return [
        Column(key="target", title="Target", write=_target, align="right"),
        Column(key="to_target", title="Reached", write=reached_text, align="right"),
        Column(key="bytes_to_target", title="Sent until then", write=byte_size, align="right"),
    ]


def _cost_columns() -> list[Column]:
    from bench.report.table import Column, decimals
    from bench.report.units import byte_size, duration

    return [
        Column(key="seconds", title="Training", write=duration, align="right"),
        Column(key="images_per_second", title="Images/s", write=decimals(0), align="right"),
        Column(key="bytes", title="Sent", write=byte_size, align="right"),
    ]


def _target(value: float) -> str:
    return f"{value:g}"


def _row(run: Run, split: str) -> dict[str, Any]:
    block = run.metrics[split]
    target = block.get("target")
    row = {
        "run": run.name,
        "folder": str(run.folder),
        "mean_auroc": block["mean_auroc"],
        "mean_ci": block["mean_ci"],
        "tasks": f"{len(block['mean_over'])} of 5",
        "observations": block["observations"],
        "seconds": run.totals["seconds"],
        "images_per_second": run.totals["images_per_second"],
        "bytes": run.totals["bytes_up"] + run.totals["bytes_down"],
        "bytes_up": run.totals["bytes_up"],
        "bytes_down": run.totals["bytes_down"],
    }
    if "sites" in block:
        row |= {"sites": block["sites"]}
    if "accuracy" in block:
        row |= {"accuracy": block["accuracy"], "ci": block["ci"]}
    if target is not None:
        row |= {
            "target": target["target"],
            "to_target": target,
            "bytes_to_target": target["bytes"],
        }
    return row
