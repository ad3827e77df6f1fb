"""``bench report``: a results folder as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import app

if TYPE_CHECKING:
    from bench.report.table import Table
    from bench.results.run import Run


@app.command()
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs, or folders of runs.  [default: results]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The page to write.", dir_okay=False),
    ] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="The page's heading.")] = None,
    against: Annotated[
        str,
        typer.Option(
            help="The published table to compare with: paper, an id that `bench baselines` lists, "
            "or none."
        ),
    ] = "paper",
) -> None:
    """Write one HTML page of what runs scored, with figures.

    The page needs no other file, and says where everything in it comes from. Prints its path.
    Reads stored scores only: nothing is trained.
    """
    from bench.comparison.captions import NONE, captions
    from bench.report.page import report_page
    from bench.report.render import emit
    from bench.results.names import told_apart
    from bench.results.run import some_runs

    found = told_apart(some_runs(runs or [Path("results")]))
    tables, notes = _comparisons(found, against)
    page = report_page(
        found,
        title=title or _title(found),
        tables=tables,
        notes=notes,
        published=lambda run, split: captions(run, split, against if tables else NONE),
    )
    emit(page, output)
    typer.echo(output)


def _title(runs: list[Run]) -> str:
    suites = list(dict.fromkeys(run.suite for run in runs))
    if len(runs) == 1:
        return f"{suites[0]}: {runs[0].name}"
    return f"Results of the suite{'s' if len(suites) > 1 else ''} {', '.join(suites)}"


def _comparisons(runs: list[Run], against: str) -> tuple[list[Table], list[str]]:
    """Tables of differences with notes, or a note of why there are none."""
    from bench.comparison.captions import NONE
    from bench.comparison.command import compare_all
    from bench.comparison.render import tables_of
    from bench.errors import NotComparable

    if against == NONE:
        return [], []
    try:
        comparisons, notes = compare_all([run.folder for run in runs], against)
    except NotComparable as error:
        return [], [error.what]
    notes += [
        f"{c.run} has no condition in common with {c.against}" for c in comparisons if not c.rows
    ]
    tables = tables_of([c for c in comparisons if c.rows])
    # With several runs the matrix of differences is the overview, and stands first.
    return [*tables[-1:], *tables[:-1]], notes
