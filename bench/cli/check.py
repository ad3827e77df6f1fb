"""``bench check``: the gate for continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.app import app
from bench.cli.options import Format, FormatOption, JsonOption, OutputOption, QuietOption, remark

if TYPE_CHECKING:
    from bench.comparison.gates import Check, Given
    from bench.suites.gates import Gates


@app.command()
def check(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN", help="Runs, or folders of runs.  [default: results]", show_default=False
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="The folder with the reference's runs.  [default: results/reference/<suite>]",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="The suite whose gates apply.  [default: the shipped one the runs name]",
            show_default=False,
        ),
    ] = None,
    auroc_tolerance: Annotated[
        float | None, typer.Option(help="The largest drop in AUROC that passes, such as 0.01.")
    ] = None,
    auroc_alpha: Annotated[float | None, typer.Option(help="Level of the paired test.")] = None,
    throughput_tolerance: Annotated[
        float | None, typer.Option(help="The largest slowdown that passes, as a share: 0.1.")
    ] = None,
    throughput_alpha: Annotated[
        float | None, typer.Option(help="Level of the rank-sum test.")
    ] = None,
    minimum_samples: Annotated[
        int | None, typer.Option(help="Timed rounds that each side must have.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 where a gate is inconclusive, too.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Make these runs the reference, and check nothing.")
    ] = False,
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fail where runs are worse than a committed reference.

    AUROC, of every condition and of the mean, fails on a drop beyond the tolerance that is also
    significant by DeLong's paired test. Training speed fails on a slowdown beyond the tolerance
    that is also significant by a rank-sum test over the rounds. Where the same bits were promised
    (a CPU, with the same machine, versions, precision and threads), any difference fails.

    Worse beyond the tolerance without significance, or slower by the yardstick alone on the same
    machine, is "inconclusive": it is shown and does not fail, unless --strict.

    Exit codes: 0 no regression; 1 a regression; 4 a gate cannot tell, because there is no
    reference, the scenario or the data is another one, a run is not finished, rounds are too few
    or the machine is another one and has no yardstick. Thresholds: this command line, then the
    suite's "gates" block, then AUROC 0.01 and throughput 0.1, both at alpha 0.05, over 6 rounds.
    """
    from bench.comparison.gates import check as hold
    from bench.comparison.gates import gather

    paths = runs or [Path("results")]
    given = gather(paths)
    if update:
        _update(given, reference, quiet=quiet)
        return
    _need_runs(given, paths)
    overrides = {
        "auroc": {"tolerance": auroc_tolerance, "alpha": auroc_alpha},
        "throughput": {
            "tolerance": throughput_tolerance,
            "alpha": throughput_alpha,
            "minimum_samples": minimum_samples,
        },
    }
    gates, remarks = _thresholds(given, suite, overrides)
    found = hold(given, reference, gates)
    shown_as = "json" if as_json else form.value
    _show(found, shown_as, output, strict=strict, remarks=remarks, quiet=quiet)
    _hint(found, paths, quiet=quiet)
    raise typer.Exit(found.exit_code(strict=strict))


def _show(
    found: Check,
    form: str,
    output: Path | None,
    *,
    strict: bool,
    remarks: list[str],
    quiet: bool,
) -> None:
    from bench.comparison.check_table import check_table, outcome
    from bench.report.render import emit, render_json, show

    table = check_table(found, strict=strict, remarks=remarks)
    verdict = outcome(found, strict=strict)
    if form == "json":
        emit(render_json(table, outcome=verdict, exit_code=found.exit_code(strict=strict)), output)
    else:
        show(table, form, output, quiet=quiet)
    if output is not None:
        remark(f"{verdict} Wrote {output}.", quiet=quiet)


def _hint(found: Check, paths: list[Path], *, quiet: bool) -> None:
    """The command that makes a reference where there is none."""
    for folder in found.references:
        if not folder.exists():
            runs = " ".join(str(path) for path in paths)
            command = f"bench check --update {runs} --reference {folder}"
            remark(f"To make these runs the reference: {command}", quiet=quiet)


def _need_runs(given: Given, paths: list[Path]) -> None:
    from bench.errors import NotComparable

    if not given.runs:
        raise NotComparable(
            "there are no runs to check",
            where=", ".join(str(path) for path in paths),
            mend="run a suite first, such as `bench run smoke`",
        )


def _thresholds(
    given: Given, suite: str | None, overrides: dict[str, dict[str, Any]]
) -> tuple[dict[str, Gates], list[str]]:
    """The gates of every suite that a run names, and a remark where those are the defaults."""
    from dataclasses import asdict

    from bench.suites.gates import Gates
    from bench.suites.suite import load_suite, shipped_suites

    chosen = {
        gate: {key: value for key, value in values.items() if value is not None}
        for gate, values in overrides.items()
    }
    shipped = shipped_suites()
    named = None if suite is None else load_suite(suite).gates
    gates, unknown = {}, []
    for name in dict.fromkeys(run.suite for run in given.runs):
        if named is not None:
            found = named
        elif name in shipped:
            found = load_suite(name).gates
        else:
            found = Gates()
            unknown.append(name)
        gates[name] = _validated({k: v | chosen[k] for k, v in asdict(found).items()})
    remarks = [
        f"No suite named '{name}' ships with bench, so its thresholds are the defaults; "
        "--suite names the file that has others."
        for name in unknown
    ]
    return gates, remarks


def _validated(values: dict[str, dict[str, Any]]) -> Gates:
    """The gates, held to the same bounds as in a suite."""
    from pydantic import ValidationError

    from bench.errors import UsageError
    from bench.suites.gates import GatesBlock

    try:
        return GatesBlock.model_validate(values).gates()
    except ValidationError as error:
        first = error.errors()[0]
        gate, key = (str(part) for part in first["loc"][:2])
        option = key if key == "minimum_samples" else f"{gate}_{key}"
        raise UsageError(
            f"--{option.replace('_', '-')} is out of bounds",
            expected=first["msg"].removeprefix("Input should be "),
            found=str(first["input"]),
        ) from None


def _update(given: Given, reference: Path | None, *, quiet: bool) -> None:
    """Makes the runs the reference, suite by suite where no folder is named."""
    from bench.comparison.gates import REFERENCES
    from bench.results.reference import update_reference

    suites = dict.fromkeys(run.suite for run in given.runs)
    if reference is not None or not suites:
        work = [(list(given.runs), reference or REFERENCES)]
    else:
        work = [([r for r in given.runs if r.suite == s], REFERENCES / s) for s in suites]
    for runs, folder in work:
        for path, run in zip(update_reference(runs, folder), runs, strict=True):
            remark(f"wrote {path}", quiet=quiet)
            if run.git.get("dirty"):
                typer.echo(
                    f"bench: warning: {run.name} was run from source that was not committed",
                    err=True,
                )
