"""``bench data cache``: what the cache holds, and what of it can go."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.data import data as data_app
from bench.cli.options import Format, FormatOption, JsonOption, OutputOption, QuietOption


@data_app.command("cache")
def cache(
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete what nothing will use again.")
    ] = False,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show packed images and phantoms in the cache ($BENCH_CACHE), their sizes and their use.

    Packs of data that is gone or has changed, and phantoms of other versions of bench, are never
    used again; with --prune they are deleted, and shown. Anything else in the cache can be deleted
    by hand too: it is made again when it is needed. Runs that are going on are not disturbed.
    """
    from bench.data.cache import prune as delete
    from bench.data.cache import survey
    from bench.locations import cache_folder
    from bench.report.data_table import cache_table
    from bench.report.render import show

    folder = cache_folder()
    entries = delete(folder) if prune else survey(folder)
    table = cache_table(entries, folder, pruned=prune)
    show(table, "json" if as_json else form.value, output, quiet=quiet)
