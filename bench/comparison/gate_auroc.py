"""The AUROC gate: a drop beyond the tolerance that the paired test confirms.

Every condition that both sides define is tested by DeLong's paired test, and so is the mean over
the competition tasks. The p-values are those of ``bench compare``: two-sided, adjusted by Holm
over the conditions of the run; the mean is one question of its own and is not adjusted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.comparison.paired import compare_runs
from bench.comparison.rows import AVERAGE, Row
from bench.comparison.verdicts import (
    CANNOT_TELL,
    INCONCLUSIVE,
    PASS,
    REGRESSION,
    UNDEFINED,
    Finding,
    p_text,
)
from bench.errors import NotComparable, ResultsError
from bench.results.run import Run
from bench.scoring.auroc import undefined_reason
from bench.scoring.studies import StudyScores
from bench.suites.gates import AurocGate


def auroc_gates(run: Run, reference: Run, gate: AurocGate) -> list[Finding]:
    """One finding a condition and one for the mean.

    Where the two were not scored on the same studies and labels, one finding that says so.
    """
    blank = Finding(
        run=run.name, gate="AUROC", threshold=_threshold(gate), verdict=CANNOT_TELL, reason=""
    )
    split = reference.judged_split
    try:
        compared = compare_runs(run, reference, split, gate.alpha)
        before, now = reference.scores(split), run.scores(split)
    except (NotComparable, ResultsError) as error:
        return [replace(blank, reason=error.clause())]
    judge = _Judge(blank=blank, gate=gate, before=before, now=now)
    found = [judge.finding(row) for row in compared.rows]
    found[-1:-1] = [
        replace(blank, gate=f"AUROC {name}", reason="the run has no scores for it any more")
        for name in before.observations
        if name not in now.observations
    ]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    blank: Finding
    gate: AurocGate
    before: StudyScores
    now: StudyScores

    def finding(self, row: Row) -> Finding:
        """The verdict on one condition, or on the mean."""
        name = "mean" if row.condition == AVERAGE else row.condition
        verdict, reason = self._judge(row)
        return replace(
            self.blank,
            gate=f"AUROC {name}",
            measured=f"{_text(row.theirs)} → {_text(row.ours)}",
            verdict=verdict,
            reason=reason,
            figures=self._figures(row),
        )

    def _judge(self, row: Row) -> tuple[str, str]:
        if row.difference is None:
            return self._undefined(row)
        drop = -row.difference
        moved = _moved(row.difference)
        if drop <= self.gate.tolerance:
            return PASS, moved if row.p is None else f"{moved}, {p_text(row.p)}"
        if row.p is None:
            why = row.verdict.partition(": ")[2]
            return CANNOT_TELL, f"{moved}, and no test can be made: {why}"
        if row.p < self.gate.alpha:
            return REGRESSION, f"{moved}, {p_text(row.p)}"
        return INCONCLUSIVE, f"{moved}, which may be chance: {p_text(row.p)}"

    def _undefined(self, row: Row) -> tuple[str, str]:
        """The labels are the same on both sides, so only NaN scores can make a difference."""
        before, now = (_why_undefined(s, row.condition) for s in (self.before, self.now))
        if before is None:
            return REGRESSION, f"the run has no AUROC any more: {now}"
        if now is None:
            return CANNOT_TELL, f"the reference has no AUROC: {before}"
        return UNDEFINED, f"{before}, as in the reference" if before == now else f"now {now}"

    def _figures(self, row: Row) -> dict[str, Any]:
        return {
            "condition": row.condition,
            "reference": row.theirs,
            "now": row.ours,
            "change": row.difference,
            "change_ci": None if row.difference_ci is None else list(row.difference_ci),
            "p": row.p,
            "tolerance": self.gate.tolerance,
            "alpha": self.gate.alpha,
        }


def _why_undefined(scored: StudyScores, condition: str) -> str | None:
    column = scored.observations.index(condition)
    labels = np.asarray(scored.labels[:, column], dtype=np.float64)
    return undefined_reason(labels, np.asarray(scored.scores[:, :, column], dtype=np.float64))


def _threshold(gate: AurocGate) -> str:
    return f"drop > {gate.tolerance:g} and p < {gate.alpha:g}"


def _moved(difference: float) -> str:
    if difference == 0.0:
        return "unchanged"
    return f"{'fell' if difference < 0 else 'rose'} by {abs(difference):.4f}"


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
