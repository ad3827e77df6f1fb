"""``bench plan``: what a suite would do, before it does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.app import app
from bench.cli.options import (
    DataOption,
    Format,
    FormatOption,
    JsonOption,
    OutputOption,
    QuietOption,
    ResultsOption,
    SelectOption,
    SetOption,
    SuiteArgument,
)

if TYPE_CHECKING:
    from bench.report.table import Column, Table
    from bench.runs.plan import Item
    from bench.suites.scenario import Scenario

NO_ESTIMATE = (
    "how long it takes is estimated from runs of the same network and image size on this machine, "
    "of which there is none"
)


@app.command()
def plan(
    suite: SuiteArgument,
    data: DataOption = None,
    results: ResultsOption = Path("results"),
    overrides: SetOption = None,
    select: SelectOption = None,
    origins: Annotated[
        bool, typer.Option("--origins", help="Show every value and where it came from.")
    ] = False,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a suite would do: scenarios, state and cost."""
    from bench.garbage import uncollected

    with uncollected():
        from bench.report.render import show
        from bench.runs.executor import Options, look_ahead

        ahead = look_ahead(
            Options(
                suite=suite,
                data=tuple(data or ()),
                results=results,
                overrides=tuple(overrides or ()),
                select=select,
            )
        )
        written = "json" if as_json else form.value
        tables = [scenario_table(ahead.suite, ahead.items, ahead.notes, whole=written == "json")]
        if origins:
            tables += [origin_table(item) for item in ahead.items]
        show(tables, written, output, quiet=quiet)


def scenario_table(
    suite: str, items: list[Item], notes: tuple[str, ...], *, whole: bool = False
) -> Table:
    """One row a scenario: the values that vary, its state and its cost.

    ``whole`` adds what no column shows: every value with its origin, folder and rounds done.
    """
    from bench.report.table import Column, Table
    from bench.runs.plan import total_rounds

    rows: list[dict[str, Any]] = []
    for item in items:
        row = {
            "scenario": item.planned.name,
            "status": item.status,
            "rounds": total_rounds(item.planned.scenario),
            "training_images": item.cost.training_images,
            "seconds": item.cost.seconds,
        }
        rows.append(row | _unshown(item) if whole else row)
    varying = _varying([item.planned.scenario for item in items])
    for key, values in varying.items():
        for row, cell in zip(rows, _cells(key, values), strict=True):
            row[f"value:{key}"] = cell
    columns = (
        Column(key="scenario", title="Scenario"),
        *(Column(key=f"value:{key}", title=key) for key in varying),
        Column(key="status", title="Status"),
        Column(key="rounds", title="Rounds", align="right"),
        Column(
            key="training_images",
            title="Images to train on",
            write=lambda n: f"{n:,}",
            align="right",
            missing="unknown",
        ),
        *_time_columns(rows),
    )
    if all(row["seconds"] is None for row in rows):
        notes = (*notes, NO_ESTIMATE)
    return Table(title=f"Suite {suite}", columns=columns, rows=tuple(rows), notes=notes)


def _time_columns(rows: list[dict[str, Any]]) -> list[Column]:
    """The estimates, where there is one."""
    from bench.report.table import Column
    from bench.report.units import duration

    if all(row["seconds"] is None for row in rows):
        return []
    title = "Estimated time"
    return [Column(key="seconds", title=title, write=duration, align="right", missing="unknown")]


def origin_table(item: Item) -> Table:
    """Every value of one scenario and where it came from."""
    from bench.report.table import Column, Table
    from bench.report.values import setting_text

    rows = tuple(
        {
            "key": key,
            "value": setting_text(key, value),
            "origin": item.planned.origin[key],
        }
        for key, value in item.planned.scenario.row().items()
    )
    columns = (
        Column(key="key", title="Key"),
        Column(key="value", title="Value"),
        Column(key="origin", title="From"),
    )
    return Table(title=item.planned.name, columns=columns, rows=rows)


def _unshown(item: Item) -> dict[str, Any]:
    return {
        "rounds_done": item.rounds_done,
        "folder": None if item.folder is None else str(item.folder),
        "values": item.planned.scenario.row(),
        "origin": dict(item.planned.origin),
    }


def _varying(scenarios: list[Scenario]) -> dict[str, list[Any]]:
    """By key, the values of all scenarios where they are not the same throughout.

    Not the rounds, which have a column in any case.
    """
    rows = [dict(scenario.items()) for scenario in scenarios]
    keys = [key for key in (rows[0] if rows else ()) if key != "rounds"]
    columns = {key: [row[key] for row in rows] for key in keys}
    return {
        key: values
        for key, values in columns.items()
        if any(value is not values[0] and value != values[0] for value in values)
    }


def _cells(key: str, values: list[Any]) -> list[str]:
    """A column's texts. Many scenarios share one object, which then is written once."""
    from bench.report.values import column_settings
    from bench.suites.scenario import plain

    distinct = {id(value): value for value in values}
    texts = column_settings(key, [plain(key, value) for value in distinct.values()])
    written = dict(zip(distinct, texts, strict=True))
    return [written[id(value)] for value in values]
