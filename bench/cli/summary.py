"""What ``bench run`` prints when the scenarios are through."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.errors import NotComparable

if TYPE_CHECKING:
    from bench.comparison.rounds_table import RoundsComparison
    from bench.comparison.rows import Comparison
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
    """The headline with interval, speed and traffic."""
    from bench.report.table import Column, Table, decimals, interval

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
        *_personal_columns(runs),
        *_target_columns(runs),
        *_cost_columns(),
    )
    return Table(
        title=f"Suite {outcome.suite}: study-level AUROC on the split 'valid'",
        columns=columns,
        rows=tuple(_row(run, "valid") for run in runs),
        notes=tuple(outcome.notes),
        synthetic=any(run.synthetic for run in runs),
    )


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


def _personal_columns(runs: list[Run]) -> list[Column]:
    """The clients' own models, where any strategy gives them some."""
    from bench.report.table import Column, decimals

    if not any("personal" in run.metrics["valid"] for run in runs):
        return []
    title = "Clients' own"
    return [Column(key="personal_mean", title=title, write=decimals(3), align="right")]


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
    }
    if "personal" in block:
        row |= {"personal": block["personal"]}
        row |= {"personal_mean": block["personal"].get("mean_auroc")}
    if "accuracy" in block:
        row |= {"accuracy": block["accuracy"], "ci": block["ci"]}
    if target is not None:
        row |= {
            "target": target["target"],
            "to_target": target,
            "bytes_to_target": target["bytes"],
        }
    return row
