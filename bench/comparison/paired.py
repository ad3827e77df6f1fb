"""A run against a run that scored the same studies: paired DeLong tests, Holm over conditions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.comparison.rows import (
    ABOVE,
    AVERAGE,
    BELOW,
    NO_DIFFERENCE,
    Comparison,
    Row,
    not_comparable,
)
from bench.observations import COMPETITION
from bench.report.units import byte_size
from bench.results.run import Run
from bench.scoring.holm import holm
from bench.scoring.intervals import Interval, Method
from bench.scoring.paired import Difference, paired_mean_test, paired_tests
from bench.scoring.report import ScoreReport, score_studies
from bench.scoring.studies import StudyScores, align

ALPHA = 0.05


def compare_runs(
    ours: Run, theirs: Run, split: str, alpha: float = ALPHA, method: Method = "logit"
) -> Comparison:
    """Every condition both runs scored on ``split``, and the mean over the competition tasks.

    The p-values are adjusted by Holm (1979) over the conditions with a test; the mean is one
    question of its own and is not adjusted. ``method`` is that of each AUROC's own interval. Raises
    NotComparable where the studies or their labels are not the same, and ResultsError where a run
    has no scores for the split.
    """
    a, b = align(ours.scores(split), theirs.scores(split))
    tests = paired_tests(a.labels, a.scores, b.scores, a.observations)
    adjusted = _adjust(tests)
    reports = [score_studies(x.labels, x.scores, x.observations, method) for x in (a, b)]
    rows = [
        _row(ours.name, test, p, [report[test.name].ci for report in reports], alpha)
        for test, p in zip(tests, adjusted, strict=True)
    ]
    over = [name for name in reports[0].mean_over if name in reports[1].mean_over]
    average = paired_mean_test(a.labels, a.scores, b.scores, a.observations)
    if average is not None:
        intervals = [_mean_interval(report, over) for report in reports]
        rows.append(_row(ours.name, average, _number(average.p), intervals, alpha, AVERAGE))
    return Comparison(
        run=ours.name,
        against=theirs.name,
        title=f"{ours.name} against {theirs.name}",
        split=split,
        rows=tuple(rows),
        notes=(
            _method(a, split, sum(p is not None for p in adjusted), over, alpha),
            *_departures(ours, theirs),
        ),
        synthetic=ours.synthetic or theirs.synthetic,
        paired=True,
    )


def _mean_interval(report: ScoreReport, over: Sequence[str]) -> Interval | None:
    """The interval of one side's mean; None where that mean is over more tasks than the row's."""
    return report.mean_ci if list(report.mean_over) == list(over) else None


def _adjust(tests: tuple[Difference, ...]) -> list[float | None]:
    """Holm over the tests that were made; None for those that were not."""
    made = [index for index, test in enumerate(tests) if not np.isnan(test.p)]
    adjusted: list[float | None] = [None] * len(tests)
    for index, p in zip(made, holm([tests[i].p for i in made]), strict=True):
        adjusted[index] = float(p)
    return adjusted


def _row(
    run: str,
    test: Difference,
    p: float | None,
    intervals: Sequence[Interval | None],
    alpha: float,
    condition: str | None = None,
) -> Row:
    return Row(
        run=run,
        condition=test.name if condition is None else condition,
        ours=_number(test.a),
        ours_ci=intervals[0],
        theirs=_number(test.b),
        theirs_ci=intervals[1],
        difference=_number(test.difference),
        difference_ci=test.ci,
        p=p,
        verdict=_verdict(test, p, alpha),
    )


def _verdict(test: Difference, p: float | None, alpha: float) -> str:
    if p is None:
        return not_comparable(test.undefined or "no test can be made")
    if p >= alpha:
        return NO_DIFFERENCE
    return ABOVE if test.difference > 0 else BELOW


def _method(scored: StudyScores, split: str, tests: int, over: Sequence[str], alpha: float) -> str:
    """What was tested and how, in one note."""
    conditions = "1 condition" if tests == 1 else f"{tests} conditions"
    words = [
        f"paired on the same {len(scored.studies):,} studies of the split '{split}'",
        f"p by DeLong's test, adjusted by Holm over {conditions}",
        f"'above' and 'below' at adjusted p < {alpha:g}",
    ]
    patients = len(np.unique(scored.patients))
    if patients < len(scored.patients):
        words.append(
            f"the studies are of {patients:,} patients, and the tests take them as independent"
        )
    if over:
        tasks = (
            f"the {len(over)} competition tasks"
            if len(over) == len(COMPETITION)
            else f"{len(over)} of the {len(COMPETITION)} competition tasks ({', '.join(over)})"
        )
        words.append(f"the average is over {tasks}, and its p is not adjusted")
    return "; ".join(words)


def _departures(ours: Run, theirs: Run) -> tuple[str, ...]:
    """In what the runs differ."""
    notes = []
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


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
