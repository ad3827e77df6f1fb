"""``bench run``: trains a suite's scenarios and prints what came of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bench.cli.app import app
from bench.cli.options import (
    MOST_CORES,
    DataOption,
    DeviceOption,
    QuietOption,
    ResultsOption,
    SelectOption,
    SetOption,
    SuiteArgument,
    number_option,
)

if TYPE_CHECKING:
    from bench.runs.crew import Crew


class OnBadImage(StrEnum):
    """What to do with an image that cannot be read."""

    fail = "fail"
    skip = "skip"


@app.command()
def run(
    suite: SuiteArgument,
    data: DataOption = None,
    results: ResultsOption = Path("results"),
    overrides: SetOption = None,
    select: SelectOption = None,
    device: DeviceOption = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Run finished scenarios again.")] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first scenario that fails.")
    ] = False,
    on_bad_image: Annotated[
        OnBadImage, typer.Option(help="An image that cannot be read stops the run, or is left out.")
    ] = OnBadImage.fail,
    against: Annotated[
        str, typer.Option(help="The published table to print differences from; none for no table.")
    ] = "paper",
    workers: Annotated[
        int,
        number_option(
            "--workers",
            low=1,
            high=MOST_CORES,
            help="Processes on this machine that share a round's clients; for several GPUs start "
            "`torchrun --nproc-per-node N -m bench run …` instead.",
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        number_option(
            "--threads",
            low=1,
            high=MOST_CORES,
            help="Threads of each process; else $OMP_NUM_THREADS, else the cores shared out among "
            "the workers. On a CPU bits depend on it, and not on --workers.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON instead of tables.")
    ] = False,
) -> None:
    """Train and score every scenario of a suite.

    Prints what each scored, and its difference from what was published. Finished scenarios are not
    run again; an interrupted one carries on where it stopped.
    """
    from bench.cli.signals import interrupt_on_terminate
    from bench.cli.summary import NO_TABLE, print_summary
    from bench.comparison.command import check_target
    from bench.environment import check_device_name
    from bench.runs.crew import Crew
    from bench.runs.executor import Options, execute

    check_device_name(device)
    if against != NO_TABLE:
        check_target(against)
    options = Options(
        suite=suite,
        data=tuple(data or ()),
        results=results,
        overrides=tuple(overrides or ()),
        select=select,
        device=device,
        fresh=fresh,
        fail_fast=fail_fast,
        on_bad_image=on_bad_image.value,
        quiet=quiet,
        threads=threads,
    )
    with interrupt_on_terminate(), Crew(workers) as crew:
        if not crew.leads:
            _follow(crew)
        outcome = execute(options, crew)
    print_summary(outcome, against=against, as_json=as_json, quiet=quiet)
    raise typer.Exit(outcome.exit_code)


def _follow(crew: Crew) -> NoReturn:
    """What a process does that torchrun started beside the first, in silence."""
    from bench.errors import WorkerLost
    from bench.runs.member import follow

    try:
        follow(crew.enrol(), crew.place)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except WorkerLost as error:
        raise typer.Exit(error.exit_code) from None
    except Exception as error:
        crew.explain(error)
        raise
    raise typer.Exit
