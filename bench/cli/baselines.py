"""``bench baselines``: the published tables, and one of them with its provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app
from bench.cli.options import Format, FormatOption, JsonOption, OutputOption, QuietOption

FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--baselines",
        metavar="DIR",
        help="A folder with further tables; else $BENCH_BASELINES.",
        show_default=False,
    ),
]

group = typer.Typer(
    help="List the published tables, or show one.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(group, name="baselines")


@group.callback()
def listing(
    context: typer.Context,
    folder: FolderOption = None,
    format: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the published tables that runs can be compared with, or show one of them."""
    if context.invoked_subcommand is not None:
        context.obj = folder
        return
    from bench.baselines import list_baselines
    from bench.report.baseline_table import list_table
    from bench.report.render import show as show_table

    table = list_table(list_baselines(folder))
    show_table(table, "json" if as_json else format.value, output, quiet=quiet)


@group.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="An id or alias, as listed.")],
    folder: FolderOption = None,
    format: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show one published table with its provenance and what to know before comparing."""
    from bench.baselines import load_baseline
    from bench.report.baseline_table import baseline_document, baseline_table
    from bench.report.render import emit, render_json
    from bench.report.render import show as show_table

    baseline = load_baseline(name, folder or context.obj)
    table = baseline_table(baseline)
    if as_json or format is Format.json:
        emit(render_json(table, **baseline_document(baseline)), output)
    else:
        show_table(table, format.value, output, quiet=quiet)
