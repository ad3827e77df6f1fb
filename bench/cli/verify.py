"""``bench verify``: the equivalences of federated strategies, measured on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from bench.cli.app import app
from bench.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    JsonOption,
    OutputOption,
    QuietOption,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.report.table import Table
    from bench.verify.checks import Finding


@app.command()
def verify(
    device: DeviceOption = "auto",
    form: FormatOption = Format.table,
    output: OutputOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check that strategies which must agree do.

    Shows the largest difference of each pair, its tolerance and the verdict. Exits with 1 where one
    does not hold.
    """
    from bench.report.render import show
    from bench.training.device import device_name, prepare, resolve_device
    from bench.verify.checks import verify as findings_on

    chosen = resolve_device(device)
    prepare(chosen)
    findings = list(findings_on(chosen))
    table = verification_table(findings, device_name(chosen) or chosen.type)
    show(table, "json" if as_json else form.value, output, quiet=quiet)
    if not all(finding.passed for finding in findings):
        raise typer.Exit(1)


def verification_table(findings: Sequence[Finding], device: str) -> Table:
    """One row an equivalence."""
    from bench.report.table import Column, Table

    rows = tuple(
        {
            "equivalence": finding.name,
            "difference": finding.difference,
            "tolerance": finding.tolerance,
            "verdict": "pass" if finding.passed else "fail",
        }
        for finding in findings
    )
    failed = sum(not finding.passed for finding in findings)
    return Table(
        title=f"Equivalences on {device}",
        notes=(
            "Largest absolute difference over parameters and running statistics; "
            "tolerance 0 asks for equal bits.",
            f"{len(findings) - failed} of {len(findings)} hold.",
        ),
        columns=(
            Column(key="equivalence", title="Equivalence"),
            Column(key="difference", title="Largest difference", write=_number, align="right"),
            Column(key="tolerance", title="Tolerance", write=_number, align="right"),
            Column(
                key="verdict",
                title="Verdict",
                emphasis=lambda row: "good" if row["verdict"] == "pass" else "bad",
            ),
        ),
        rows=rows,
    )


def _number(value: float) -> str:
    return "0" if value == 0.0 else f"{value:.1e}"
