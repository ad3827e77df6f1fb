"""``bench plot``: figures redrawn from what runs left behind."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.app import app
from bench.cli.options import SplitName

if TYPE_CHECKING:
    from bench.results.run import Run

plot = typer.Typer(help="Draw ROC and training curves of runs.", no_args_is_help=True)
app.add_typer(plot, name="plot")

RunsArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN", help="Runs, or folders of runs.")
]
FolderOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="The folder to write to.", file_okay=False)
]
FormatsOption = Annotated[
    str, typer.Option("--format", "-f", metavar="NAMES", help="png, svg or both, by commas.")
]


class CurvesBy(StrEnum):
    """What training curves are drawn over."""

    round = "round"
    bytes = "bytes"


@plot.command()
def roc(
    runs: RunsArgument,
    split: Annotated[SplitName, typer.Option(help="Which scores to draw.")] = SplitName.valid,
    against: Annotated[
        str,
        typer.Option(
            help="The published AUROCs to print beside ours: paper, an id that `bench baselines` "
            "lists, or none."
        ),
    ] = "paper",
    output: FolderOption = None,
    form: FormatsOption = "png,svg",
) -> None:
    """Draw ROC curves from stored scores: of one run, or of several over each other.

    One run gets a figure a condition and one of the competition tasks, by default in its own
    folder; several runs get a figure a condition. Prints the files written.
    """
    from bench.report.drawing import Drawers
    from bench.report.roc import folder_of, overlaid, panels_of, undrawn
    from bench.results.names import told_apart
    from bench.results.run import some_runs

    formats = _formats(form)
    scored = told_apart(_scored(some_runs(runs), split.value))
    published = [_published(run, split.value, against) for run in scored]
    if len(scored) == 1:
        only = scored[0]
        panels = panels_of(only, split.value, published[0])
        folder = output or folder_of(only, split.value)
    else:
        _check_distinct(scored)
        panels = overlaid(scored, split.value, published)
        folder = output or _common_folder(scored) / "roc"
    for run in scored:
        for name, reason in undrawn(run, split.value).items():
            typer.echo(f"no curve for {name} of {run.name}: {reason}", err=True)
    with Drawers() as drawers:
        _print_files(drawers.draw(panels, folder, formats))


@plot.command()
def curves(
    runs: RunsArgument,
    by: Annotated[
        CurvesBy, typer.Option(help="Draw over rounds, or over the bytes sent so far.")
    ] = CurvesBy.round,
    output: FolderOption = None,
    form: FormatsOption = "png,svg",
) -> None:
    """Draw loss and AUROC (of digits, accuracy) by round, a figure a suite.

    Prints the files written.
    """
    from bench.report.curves import STEM, draw_curves
    from bench.report.roc import file_name
    from bench.results.names import told_apart
    from bench.results.run import some_runs

    formats = _formats(form)
    suites: dict[str, list[Run]] = {}
    for run in some_runs(runs):
        suites.setdefault(run.suite, []).append(run)
    files: list[Path] = []
    for suite, own in suites.items():
        _check_distinct(own)
        alone = len(own) == 1
        heading = own[0].name if alone else f"Suite {suite}"
        folder = output or (own[0].folder if alone else _common_folder(own))
        stem = STEM if by is CurvesBy.round else f"{STEM}-{by.value}"
        if output is not None and len(suites) > 1:
            stem = f"{stem}-{file_name(suite)}"
        files += draw_curves(told_apart(own), folder / stem, heading, formats, by.value)
    _print_files(files)


def _formats(text: str) -> tuple[str, ...]:
    from bench.report.figures import check_formats

    return check_formats([name.strip() for name in text.split(",") if name.strip()])


def _scored(runs: list[Run], split: str) -> list[Run]:
    """Those with scores for the split; the others are named on standard error."""
    from bench.errors import ResultsError

    scored = [run for run in runs if split in run.metrics]
    if not scored:
        kept = sorted({name for run in runs for name in run.metrics})
        raise ResultsError(
            f"no run has scores for the split '{split}'",
            where=", ".join(str(run.folder) for run in runs[:3]),
            found=f"scores for {', '.join(kept)}" if kept else f"a run that is {runs[0].status}",
            mend="finish the run with `bench run`, or choose another --split",
        )
    for run in runs:
        if run not in scored:
            typer.echo(f"{run.name} is left out: no scores for the split '{split}'", err=True)
    return scored


def _published(run: Run, split: str, against: str) -> dict[str, str]:
    from bench.comparison.captions import captions

    return captions(run, split, against)


def _check_distinct(runs: list[Run]) -> None:
    """Raises UsageError for more runs than there are looks of a line."""
    from bench.errors import UsageError
    from bench.report.figures import DISTINCT

    if len(runs) > DISTINCT:
        raise UsageError(
            "too many runs for one figure",
            expected=f"up to {DISTINCT}, which can be told apart",
            found=f"{len(runs)} runs",
            mend="name the runs to draw one by one",
        )


def _common_folder(runs: list[Run]) -> Path:
    """The deepest folder that holds them all, from here where it lies below."""
    common = Path(os.path.commonpath([run.folder.resolve().parent for run in runs]))
    here = Path.cwd()
    return common.relative_to(here) if common.is_relative_to(here) else common


def _print_files(files: list[Path]) -> None:
    for file in files:
        typer.echo(file)
