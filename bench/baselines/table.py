"""A published table in memory: a baseline has rows, a row has values, a value knows its context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

AVERAGE = "Average"
"""The condition of a mean over others; which ones, ``Baseline.mean_over`` says."""
AUROC = "AUROC"
"""The metric that runs are compared on."""

Confidence = Literal["cross-checked", "single-source", "computed"]
"""Two independent copies agreed, one copy was seen, or recomputed from what was released."""
Split = Literal["train", "valid", "test"]
Level = Literal["study", "image", "character"]
Views = Literal["max", "mean", "frontal"]
Policy = str | Mapping[str, str] | None
"""One label policy, one per condition, or None where none was stated or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Where the table was published."""

    authors: str
    title: str
    venue: str | None
    year: int | None
    doi: str | None
    arxiv: str | None
    note: str | None
    """What identifies it where it has neither DOI nor arXiv id."""
    table: str
    """Which table or figure of it."""

    @property
    def identifier(self) -> str:
        """``arXiv:…``, ``doi:…``, both, or the note."""
        parts = [f"arXiv:{self.arxiv}" if self.arxiv else None, self.doi and f"doi:{self.doi}"]
        return ", ".join(filter(None, parts)) or str(self.note)

    def __str__(self) -> str:
        where = " ".join(str(part) for part in (self.venue, self.year) if part)
        return ". ".join(
            part.rstrip(".")
            for part in (self.authors, self.title, where, self.identifier, self.table)
            if part
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a number measures."""

    name: str
    unit: str
    """``fraction`` (0 to 1), ``readers``, ``rounds``, ``ratio`` or a noun that is counted."""
    higher_is_better: bool | None
    """None where neither direction is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One published figure, with everything that is needed to judge a comparison with it."""

    condition: str
    metric: str
    method: str
    policy: Policy
    value: float | None
    """None where it was not published, not found or not reached: ``missing`` says which."""
    missing: str | None
    decimals: int | None
    """Decimals it was printed with; None where it was given at full precision."""
    cut: bool
    """Whether it was printed with its further digits cut off, not rounded."""
    ci: tuple[float, float] | None
    """The published interval; of which kind, ``Baseline.interval`` says."""
    n: int | None
    positives: int | None
    derived: bool
    """Computed from printed figures rather than printed itself."""
    confidence: Confidence
    note: str | None

    def rounding_interval(self) -> tuple[float, float] | None:
        """What the figure can have been before it was rounded; None where there is no figure.

        Half a unit of the last printed decimal on either side; a whole unit upwards for a positive
        figure that was cut. A figure of full precision is its own interval.
        """
        if self.value is None:
            return None
        if self.decimals is None:
            return self.value, self.value
        unit = 10.0**-self.decimals
        if self.cut:
            return self.value, self.value + unit
        return self.value - unit / 2, self.value + unit / 2

    def text(self) -> str:
        """The figure as it was printed, or why there is none."""
        if self.value is None:
            return self.missing or "not found"
        return repr(self.value) if self.decimals is None else f"{self.value:.{self.decimals}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method of a table."""

    method: str
    policy: Policy
    ensemble: int | None
    """Models whose mean is scored; 1 is a single model, None is not stated."""
    image_size: int | None
    setting: Mapping[str, str | float | int | None]
    """Further parameters by name, such as C, E and B."""
    values: tuple[Value, ...]
    note: str | None

    def of(self, metric: str = AUROC) -> tuple[Value, ...]:
        """The row's values of one metric, in the table's order, a mean last."""
        found = [value for value in self.values if value.metric == metric]
        return tuple(sorted(found, key=lambda value: value.condition == AVERAGE))

    def get(self, condition: str, metric: str = AUROC) -> Value | None:
        """The value of one condition, or None where the table has no such cell."""
        return next((value for value in self.of(metric) if value.condition == condition), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One published table on one split at one level."""

    id: str
    title: str
    citation: Citation
    read_at: tuple[str, ...]
    """The copies the figures were read from."""
    confidence: Confidence
    dataset: str
    split: Split | None
    level: Level | None
    views: Views | None
    """How a study's views were combined, or ``frontal`` where only those were used."""
    image_size: int | None
    ensemble: int | None
    n: int | None
    positives: Mapping[str, int]
    metrics: Mapping[str, Metric]
    interval: str | None
    """Which intervals the table prints; None where it prints none."""
    mean_over: tuple[str, ...]
    """The conditions whose unweighted mean is the average."""
    notes: tuple[str, ...]
    """What to know before comparing."""
    rows: tuple[Row, ...]
    file: Path
    synthetic: bool = field(default=False, init=False)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Every condition of the table in its order, the average last."""
        found = dict.fromkeys(v.condition for row in self.rows for v in row.values)
        return tuple(sorted(found, key=lambda condition: condition == AVERAGE))

    @property
    def policies(self) -> tuple[str, ...]:
        """The label policies that have a row of their own."""
        return tuple(dict.fromkeys(r.policy for r in self.rows if isinstance(r.policy, str)))

    def row(self, method: str) -> Row | None:
        """The row of that method."""
        return next((row for row in self.rows if row.method == method), None)

    def values_for(self, policy: Policy = None, metric: str = AUROC) -> tuple[Value, ...]:
        """One row's values, with a derived average where the table prints none.

        ``policy`` None takes the first row; a policy's name the row trained under it; a mapping
        takes each condition from the row of its policy, as the paper's final model did. Empty where
        the table has no such row; conditions for which it has none are left out.
        """
        if policy is None:
            values = self.rows[0].of(metric)
        elif isinstance(policy, str):
            values = next((row.of(metric) for row in self.rows if row.policy == policy), ())
        else:
            by_policy = {row.policy: row for row in self.rows if isinstance(row.policy, str)}
            chosen = (
                by_policy[name].get(condition, metric)
                for condition, name in policy.items()
                if name in by_policy and condition != AVERAGE
            )
            values = tuple(value for value in chosen if value is not None)
        average = self._average(values) if values else None
        return values if average is None else (*values, average)

    def _average(self, values: tuple[Value, ...]) -> Value | None:
        """The unweighted mean over ``mean_over`` where there is none and no part is missing.

        Its error is at most that of the parts, so it keeps their decimals for its rounding.
        """
        by_condition = {value.condition: value for value in values}
        parts = [by_condition.get(condition) for condition in self.mean_over]
        known = [p for p in parts if p is not None and p.value is not None]
        if AVERAGE in by_condition or not parts or len(known) < len(parts):
            return None
        figures = [p.value for p in known if p.value is not None]
        methods = dict.fromkeys(p.method for p in known)
        coarsest = min((p.decimals for p in known if p.decimals is not None), default=None)
        return Value(
            condition=AVERAGE,
            metric=known[0].metric,
            method=" / ".join(methods),
            policy=known[0].policy if len(methods) == 1 else None,
            value=sum(figures) / len(figures),
            missing=None,
            decimals=coarsest,
            cut=False,
            ci=None,
            n=known[0].n,
            positives=None,
            derived=True,
            confidence="computed",
            note=f"mean of the {len(figures)} printed figures",
        )
