"""What a gate says of a run: what was measured, the threshold, the verdict and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PASS = "pass"
REGRESSION = "regression"
INCONCLUSIVE = "inconclusive"
"""Worse by more than the tolerance, which chance alone could have done."""
CANNOT_TELL = "cannot tell"
"""The gate could not be evaluated."""
NOT_PROMISED = "not promised"
"""Bit-equality, where nobody promised it: neither good nor bad."""
UNDEFINED = "undefined"
"""An AUROC that neither side has, for the same reason: neither good nor bad."""

DECIDED = (PASS, REGRESSION)
ORDER = (REGRESSION, CANNOT_TELL, INCONCLUSIVE, PASS, NOT_PROMISED, UNDEFINED)
"""From what matters most."""

EXIT_PASS, EXIT_REGRESSION, EXIT_CANNOT_TELL = 0, 1, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One gate of one run."""

    run: str
    gate: str
    """``AUROC <condition>``, ``AUROC mean``, ``bit-equality``, ``throughput`` or ``all gates``."""
    measured: str | None = None
    """The reference's figure and the run's, as ``0.8123 → 0.7912``; None where there is none."""
    threshold: str | None = None
    verdict: str
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)
    """The same as numbers, for JSON: ``reference``, ``now``, ``change``, ``p`` and the like."""

    def row(self) -> dict[str, Any]:
        """The finding as a row of the table, its numbers in full beside the written cells."""
        return {
            "run": self.run,
            "gate": self.gate,
            "measured": self.measured,
            "threshold": self.threshold,
            "verdict": self.verdict,
            "reason": self.reason,
            **self.figures,
        }


def exit_code(findings: Sequence[Finding], *, strict: bool = False) -> int:
    """1 where anything is a regression; else 4 where a gate cannot tell, or none decided; else 0.

    An inconclusive gate is no failure unless ``strict``, which makes it a 4: with few studies a
    drop beyond the tolerance that is not significant is what chance does to honest runs.
    """
    found = {finding.verdict for finding in findings}
    if REGRESSION in found:
        return EXIT_REGRESSION
    if CANNOT_TELL in found or (strict and INCONCLUSIVE in found):
        return EXIT_CANNOT_TELL
    return EXIT_PASS if found & {*DECIDED, INCONCLUSIVE} else EXIT_CANNOT_TELL


def summary(findings: Sequence[Finding]) -> str:
    """``1 regression, 2 inconclusive, 7 pass``, what matters most first."""
    counts = Counter(finding.verdict for finding in findings)
    words = [f"{counts[verdict]} {_plural(verdict, counts[verdict])}" for verdict in ORDER]
    return ", ".join(w for w, v in zip(words, ORDER, strict=True) if counts[v]) or "no gates"


def p_text(p: float) -> str:
    """``p = 0.013``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _plural(verdict: str, count: int) -> str:
    return "regressions" if verdict == REGRESSION and count > 1 else verdict
