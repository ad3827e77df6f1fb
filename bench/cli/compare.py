"""``bench compare``: runs against published tables, or against each other."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.app import app
from bench.cli.options import (
    Format,
    FormatOption,
    JsonOption,
    OutputOption,
    QuietOption,
    ResultsOption,
    SplitName,
    remark,
)


class Interval(StrEnum):
    """How our intervals are formed."""

    logit = "logit"
    wald = "wald"


@app.command()
def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="Runs or folders of runs; all of --results if none."),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            help="A published table (paper, paper:valid, paper:test, readme, mcmahan2017 for "
            "rounds to target on MNIST, or an id that `bench baselines` lists), a run, or a "
            "folder of runs."
        ),
    ] = "paper",
    split: Annotated[
        SplitName | None,
        typer.Option(
            help="Which scores; by default those on the split that the table is on, or that the "
            "runs are judged by."
        ),
    ] = None,
    ci: Annotated[
        Interval, typer.Option(help="Our intervals: logit, or Wald as in the CheXpert paper.")
    ] = Interval.logit,
    results: ResultsOption = Path("results"),
    baselines: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A folder with further published tables; else $BENCH_BASELINES."
        ),
    ] = None,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Hold runs against published results, or against other runs.

    Exits with 4 where not one difference can be formed.
    """
    from bench.comparison.command import compare_all, compare_all_rounds
    from bench.comparison.render import write
    from bench.comparison.rounds_table import publishes_rounds, write_rounds
    from bench.report.render import emit, looks

    style = "json" if as_json else form.value
    if publishes_rounds(against, baselines):
        found, notes = compare_all_rounds(runs or [], against, results=results, baselines=baselines)
        text = write_rounds(found, style, **looks(output))
    else:
        comparisons, notes = compare_all(
            runs or [],
            against,
            split=None if split is None else split.value,
            method=ci.value,
            results=results,
            baselines=baselines,
        )
        text = write(comparisons, style, **looks(output))
    for note in notes:
        remark(f"note: {note}", quiet=quiet)
    emit(text, output)
