"""A run against a run that scored the same studies: paired DeLong tests, Holm over conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.comparison.rows import ABOVE, AVERAGE, BELOW, WITHIN, Comparison, Row, not_comparable
from bench.report.units import byte_size
from bench.results.run import Run
from bench.scoring.holm import holm
from bench.scoring.paired import Difference, paired_mean_test, paired_tests
from bench.scoring.studies import StudyScores, align

ALPHA = 0.05


def compare_runs(ours: Run, theirs: Run, split: str, alpha: float = ALPHA) -> Comparison:
    """Every condition both runs scored on ``split``, and the mean over the competition tasks.

    The p-values are adjusted by Holm (1979) over the conditions with a test; the mean is one
    question of its own and is not adjusted. Raises NotComparable where the studies or their labels
    are not the same, and ResultsError where a run has no scores for the split.
    """
    a, b = align(ours.scores(split), theirs.scores(split))
    tests = paired_tests(a.labels, a.scores, b.scores, a.observations)
    adjusted = _adjust(tests)
    ours_metrics, theirs_metrics = (
        run.metrics.get(split, {}).get("observations", {}) for run in (ours, theirs)
    )
    rows = [
        _row(ours.name, test, p, ours_metrics, theirs_metrics, alpha)
        for test, p in zip(tests, adjusted, strict=True)
    ]
    average = paired_mean_test(a.labels, a.scores, b.scores, a.observations)
    if average is not None:
        rows.append(_average(ours, theirs, split, average, alpha))
    return Comparison(
        run=ours.name,
        against=theirs.name,
        title=f"{ours.name} against {theirs.name}",
        split=split,
        rows=tuple(rows),
        notes=_notes(ours, theirs, split, a, sum(p is not None for p in adjusted)),
        synthetic=ours.synthetic or theirs.synthetic,
        paired=True,
    )


def _adjust(tests: tuple[Difference, ...]) -> list[float | None]:
    """Holm over the tests that were made; None for those that were not."""
    made = [index for index, test in enumerate(tests) if not np.isnan(test.p)]
    adjusted: list[float | None] = [None] * len(tests)
    for index, p in zip(made, holm([tests[i].p for i in made]), strict=True):
        adjusted[index] = float(p)
    return adjusted


def _row(
    name: str,
    test: Difference,
    p: float | None,
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    alpha: float,
) -> Row:
    return Row(
        run=name,
        condition=test.name,
        ours=_number(test.a),
        ours_ci=_interval(ours.get(test.name)),
        theirs=_number(test.b),
        theirs_ci=_interval(theirs.get(test.name)),
        difference=_number(test.difference),
        difference_ci=test.ci,
        p=p,
        verdict=_verdict(test, p, alpha),
    )


def _average(ours: Run, theirs: Run, split: str, test: Difference, alpha: float) -> Row:
    p = _number(test.p)
    return Row(
        run=ours.name,
        condition=AVERAGE,
        ours=_number(test.a),
        ours_ci=_pair(ours.metrics.get(split, {}).get("mean_ci")),
        theirs=_number(test.b),
        theirs_ci=_pair(theirs.metrics.get(split, {}).get("mean_ci")),
        difference=_number(test.difference),
        difference_ci=test.ci,
        p=p,
        verdict=_verdict(test, p, alpha),
    )


def _verdict(test: Difference, p: float | None, alpha: float) -> str:
    if p is None:
        return not_comparable(test.undefined or "no test can be made")
    if p >= alpha:
        return WITHIN
    return ABOVE if test.difference > 0 else BELOW


def _notes(ours: Run, theirs: Run, split: str, scored: StudyScores, tests: int) -> tuple[str, ...]:
    notes = [
        f"paired on the same {len(scored.studies):,} studies of the split '{split}'; "
        f"p by DeLong's test, adjusted by Holm over {tests} conditions; "
        f"'above' and 'below' at adjusted p < {ALPHA}",
    ]
    changed = {
        key: (ours.scenario.get(key), theirs.scenario.get(key))
        for key in ours.scenario
        if ours.scenario.get(key) != theirs.scenario.get(key)
    }
    if changed:
        notes.append("the scenarios differ in: " + ", ".join(sorted(changed)))
    sent = [_sent(run) for run in (ours, theirs)]
    if sent[0] != sent[1]:
        notes.append(f"sent in all: {sent[0]}, against {sent[1]}")
    return tuple(notes)


def _sent(run: Run) -> str:
    up, down = byte_size(run.totals["bytes_up"]), byte_size(run.totals["bytes_down"])
    return f"{up} to the server and {down} to clients"


def _interval(entry: Mapping[str, Any] | None) -> tuple[float, float] | None:
    return _pair(entry.get("ci")) if entry else None


def _pair(value: Any) -> tuple[float, float] | None:
    return None if value is None else (float(value[0]), float(value[1]))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
