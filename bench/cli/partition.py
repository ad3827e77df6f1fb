"""``bench partition``: who would hold what in the federations of a suite."""

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
    SelectOption,
    SetOption,
    SuiteArgument,
    remark,
)

if TYPE_CHECKING:
    from bench.data.split import Split
    from bench.federation.partitions import PartitionReport, Units
    from bench.suites.suite import Planned

NAMED_SCENARIOS = 5
"""So many scenarios of a partition are named; of more, the first of them and their number."""


@app.command()
def partition(
    suite: SuiteArgument,
    data: DataOption = None,
    overrides: SetOption = None,
    select: SelectOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Draw each partition as a heat map; .png, .svg or .pdf.", dir_okay=False
        ),
    ] = None,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show how a suite divides the training patients among clients.

    Images are not read. Scenarios that divide the patients in the same way are shown once.
    """
    from bench.report.heatmap import check_ending, draw_partition
    from bench.report.partition_table import client_table, partition_tables
    from bench.report.render import show
    from bench.runs.source import find_sources, open_data
    from bench.suites.suite import PHANTOM_PROFILE, load_suite

    if plot is not None:
        check_ending(plot)
    loaded = load_suite(suite)
    keys = tuple(overrides or ())
    datasets = dict.fromkeys(one.scenario.dataset for one in loaded.scenarios(keys, select))
    opened = {name: open_data(found) for name, found in find_sources(data or (), datasets).items()}
    synthetic = any(one.synthetic for one in opened.values())
    planned = loaded.scenarios(keys, select, profile=PHANTOM_PROFILE if synthetic else None)
    groups = _distinct(planned, suite, select)
    sources = [opened[members[0].scenario.dataset] for members in groups]
    reports = [_report(m[0], source.pool()) for m, source in zip(groups, sources, strict=True)]
    if as_json or form in (Format.json, Format.csv):
        entries = [(_which(m), r) for m, r in zip(groups, reports, strict=True)]
        tables = [client_table(entries, synthetic=synthetic)]
    else:
        tables = [
            table
            for members, source, report in zip(groups, sources, reports, strict=True)
            for table in partition_tables(
                report,
                title=f"{source.name}: {_title(members[0])}",
                notes=(_scenarios(members),),
                synthetic=source.synthetic,
            )
        ]
    show(tables, "json" if as_json else form.value, output, quiet=quiet)
    if plot is not None:
        files = _files(plot, len(reports))
        for source, report, file in zip(sources, reports, files, strict=True):
            draw_partition(report, file, title=source.name, synthetic=source.synthetic)
            remark(f"drew {file}", quiet=quiet)


def _distinct(planned: list[Planned], suite: str, select: str | None) -> list[list[Planned]]:
    """Scenarios grouped by what decides a partition, in the suite's order; not the centralised."""
    from bench.errors import UsageError

    divided = [one for one in planned if one.scenario.strategy.name != "centralized"]
    if not divided:
        raise UsageError(
            "no scenario divides its data",
            where=suite,
            expected="a scenario with another strategy than centralized",
            found=f"{len(planned)} scenarios" + ("" if select is None else f" by -k {select}"),
            mend="`bench plan` without -k lists the scenarios and their values",
        )
    groups: dict[Any, list[Planned]] = {}
    for one in divided:
        s = one.scenario
        groups.setdefault((s.dataset, s.partition, s.clients, s.seed), []).append(one)
    return list(groups.values())


def _report(planned: Planned, pool: Split | Units) -> PartitionReport:
    from bench.errors import SuiteError
    from bench.federation.partitions import describe
    from bench.federation.partitions import partition as divide

    scenario = planned.scenario
    try:
        shared = divide(scenario.partition, pool, clients=scenario.clients, seed=scenario.seed)
    except SuiteError as error:
        raise SuiteError(
            error.what,
            where=f"scenario {planned.name}",
            expected=error.expected,
            found=error.found,
            mend=error.mend,
        ) from error
    return describe(shared, pool)


def _which(members: list[Planned]) -> dict[str, Any]:
    scenario = members[0].scenario
    return {
        "partition": str(scenario.partition),
        "clients": scenario.clients,
        "seed": scenario.seed,
        "scenarios": " ".join(one.name for one in members),
    }


def _title(planned: Planned) -> str:
    s = planned.scenario
    return f"{s.partition}, {s.clients} clients, seed {s.seed}"


def _scenarios(members: list[Planned]) -> str:
    names = ", ".join(one.name for one in members[:NAMED_SCENARIOS])
    more = len(members) - NAMED_SCENARIOS
    return f"scenarios: {names} and {more} more" if more > 0 else f"scenarios: {names}"


def _files(plot: Path, number: int) -> list[Path]:
    """``map.png``, or ``map-1.png``, ``map-2.png``, … for more than one partition."""
    if number == 1:
        return [plot]
    return [plot.with_name(f"{plot.stem}-{i}{plot.suffix}") for i in range(1, number + 1)]
