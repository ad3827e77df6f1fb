"""The findings of ``bench check`` as a table: one row a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.comparison.gate_bits import GATE as BITS
from bench.comparison.gates import Check
from bench.comparison.verdicts import (
    CANNOT_TELL,
    INCONCLUSIVE,
    PASS,
    REGRESSION,
    summary,
)
from bench.report.table import Column, Table

OUTCOMES = {0: "Passed", 1: "Failed", 4: "Cannot tell"}
STYLES = {PASS: "good", REGRESSION: "bad", INCONCLUSIVE: None, CANNOT_TELL: "bad"}

METHOD = (
    "AUROC on the split 'valid', or MNIST's 'test': DeLong's paired test, two-sided, adjusted by "
    "Holm over the conditions of a run. Throughput: medians over rounds, one-sided rank-sum test."
)
CHANGED_NUMBERS = (
    "If the numbers were meant to change, raise SEMANTICS in bench/suites/scenario.py, run the "
    "suite again and renew the reference with `bench check --update`."
)


def outcome(check: Check, *, strict: bool) -> str:
    """``Failed: 1 regression, 6 pass.``"""
    code = check.exit_code(strict=strict)
    return f"{OUTCOMES[code]}: {summary(check.findings)}."


def check_table(check: Check, *, strict: bool, remarks: Sequence[str] = ()) -> Table:
    """Run, gate, what was measured, the threshold, the verdict and the reason."""
    notes = [outcome(check, strict=strict), METHOD, *remarks]
    if any(f.gate == BITS and f.verdict == REGRESSION for f in check.findings):
        notes.append(CHANGED_NUMBERS)
    findings = check.findings
    return Table(
        title="Check against " + ", ".join(str(path) for path in check.references),
        columns=(
            Column(key="run", title="Run"),
            Column(key="gate", title="Gate"),
            Column(key="measured", title="Measured"),
            Column(key="threshold", title="Threshold"),
            Column(key="verdict", title="Verdict", emphasis=_emphasis),
            Column(key="reason", title="Reason"),
        ),
        rows=tuple(finding.row() for finding in findings),
        notes=tuple(notes),
        rule_before=tuple(
            i for i in range(1, len(findings)) if findings[i].run != findings[i - 1].run
        ),
        synthetic=check.synthetic,
        lead=2,
    )


def _emphasis(row: Mapping[str, Any]) -> str | None:
    return STYLES.get(row["verdict"], "dim")
