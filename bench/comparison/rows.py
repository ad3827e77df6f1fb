"""What a comparison is: one row a run and condition, with a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.scoring.intervals import Interval

ABOVE = "above"
BELOW = "below"
WITHIN = "within the interval"
"""Of a published figure: the difference's interval holds 0."""
NO_DIFFERENCE = "no significant difference"
"""Of another run on the same studies: the paired test's p is not below alpha."""
NOT_COMPARABLE = "not comparable"

AVERAGE = "Average"
"""The row that stands last: the unweighted mean over a table's own conditions, or against a run
over the competition tasks that both define."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One condition of one run, held against another figure for it."""

    run: str
    condition: str
    ours: float | None
    ours_ci: Interval | None
    theirs: float | None
    theirs_ci: Interval | None
    """The published 95 % interval or the other run's; None where none was published."""
    difference: float | None
    """ours - theirs; None where one of them is undefined."""
    difference_ci: Interval | None = None
    p: float | None = None
    """Two-sided, against a run only; adjusted by Holm over its conditions, the average's is not."""
    verdict: str
    """``above``, ``below``, ``within the interval``, ``no significant difference`` or
    ``not comparable: <reason>``."""
    theirs_decimals: int = 3
    """Decimals the other figure was printed with."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further JSON-able values, such as the seeds' mean and sd."""

    def json(self) -> dict[str, Any]:
        """The row as ``bench compare --format json`` prints it."""
        return {
            "run": self.run,
            "condition": self.condition,
            "ours": self.ours,
            "ours_ci": None if self.ours_ci is None else list(self.ours_ci),
            "theirs": self.theirs,
            "theirs_ci": None if self.theirs_ci is None else list(self.theirs_ci),
            "difference": self.difference,
            "difference_ci": None if self.difference_ci is None else list(self.difference_ci),
            "p": self.p,
            "verdict": self.verdict,
            "theirs_decimals": self.theirs_decimals,
            **self.extra,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One run (or several seeds of one scenario) against one other thing."""

    run: str
    against: str
    """A baseline's id or the other run's name."""
    title: str
    split: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """What was chosen and every respect in which the two differ; printed above the table."""
    synthetic: bool
    paired: bool

    @property
    def comparable(self) -> bool:
        """True where at least one difference could be formed."""
        return any(row.difference is not None for row in self.rows)


def not_comparable(reason: str) -> str:
    """The verdict of a row that bears no judgement, with why."""
    return f"{NOT_COMPARABLE}: {reason}"
