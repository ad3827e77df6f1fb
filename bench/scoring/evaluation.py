"""Everything that is said of one model's predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.observations import COMPETITION
from bench.scoring.auprc import average_precision
from bench.scoring.calibration import Calibration, calibration, refusal
from bench.scoring.operating import (
    Fixed,
    OperatingPoint,
    Reader,
    lies_below,
    operating_point,
    reader,
)
from bench.scoring.report import ConditionScore, IntervalMethod, ScoreReport, score_studies
from bench.scoring.roc import Curve, curve
from bench.scoring.studies import StudyScores


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of one model."""

    score: ConditionScore
    auprc: float | None
    calibration: Calibration | None
    """None where refused for the whole model, or without labels."""
    points: tuple[OperatingPoint | None, ...]
    """One per point asked for; None where there is no curve."""
    readers: tuple[Reader, ...]
    """The radiologists who read this condition and whose rates are defined."""
    below: int | None
    """How many of ``readers`` lie below the curve; None without a curve or without readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One model."""

    name: str
    report: ScoreReport
    conditions: Mapping[str, Condition]
    calibration_refused: str | None
    """Why the scores cannot be probabilities."""
    readers: tuple[str, ...]

    @property
    def mean_below(self) -> float | None:
        """Radiologists below the curve, averaged over the competition tasks that have readers."""
        counts = [
            c.below
            for name, c in self.conditions.items()
            if name in COMPETITION and c.below is not None
        ]
        return sum(counts) / len(counts) if counts else None

    @property
    def mean_auprc(self) -> float | None:
        """Unweighted mean over the same tasks as the mean AUROC."""
        values = [self.conditions[name].auprc for name in self.report.mean_over]
        return sum(v for v in values if v is not None) / len(values) if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be computed."""

    method: IntervalMethod = "logit"
    confidence: float = 0.95
    replicates: int = 1000
    seed: int = 0
    points: tuple[tuple[Fixed, float], ...] = ()


def evaluate(
    name: str, scored: StudyScores, asked: Asked, readers: Mapping[str, StudyScores]
) -> Evaluation:
    """Scores one model's studies (one member) and places the radiologists against its curves."""
    report = score_studies(
        scored.labels,
        scored.scores,
        scored.observations,
        asked.method,
        confidence=asked.confidence,
        patients=scored.patients,
        replicates=asked.replicates,
        seed=asked.seed,
    )
    refused = refusal(scored.scores)
    conditions = {}
    for c, score in enumerate(report.conditions):
        labels, values = scored.labels[:, c], scored.scores[0, :, c]
        points = None if score.undefined else curve(labels, values)
        people = _readers(score.name, readers)
        conditions[score.name] = Condition(
            score=score,
            auprc=None if score.undefined else average_precision(labels, values),
            calibration=None if refused else calibration(labels, values),
            points=_points(points, asked.points),
            readers=people,
            below=None
            if points is None or not people
            else sum(lies_below(points, person) for person in people),
        )
    return Evaluation(
        name=name,
        report=report,
        conditions=conditions,
        calibration_refused=refused,
        readers=tuple(readers),
    )


def _points(
    points: Curve | None, wanted: Sequence[tuple[Fixed, float]]
) -> tuple[OperatingPoint | None, ...]:
    if points is None:
        return (None,) * len(wanted)
    return tuple(operating_point(points, fixed, bound) for fixed, bound in wanted)


def _readers(name: str, readers: Mapping[str, StudyScores]) -> tuple[Reader, ...]:
    found = []
    for person, calls in readers.items():
        if name in calls.observations:
            c = calls.observations.index(name)
            found.append(reader(person, calls.labels[:, c], calls.scores[0, :, c]))
    return tuple(one for one in found if one is not None)


def condition_document(condition: Condition, asked: Asked) -> dict[str, Any]:
    """The JSON object of one condition; an undefined value is null, with the reason beside it."""
    document = condition.score.metrics()
    document["auprc"] = condition.auprc
    document["calibration"] = _calibration_document(condition.calibration)
    document["operating_points"] = [
        {
            "fixed": fixed,
            "at_least": bound,
            "threshold": None if point is None else _finite(point.threshold),
            "sensitivity": None if point is None else point.sensitivity,
            "specificity": None if point is None else point.specificity,
        }
        for (fixed, bound), point in zip(asked.points, condition.points, strict=True)
    ]
    document["radiologists"] = {
        person.name: {
            "sensitivity": person.sensitivity,
            "specificity": person.specificity,
        }
        for person in condition.readers
    }
    document["radiologists_below_curve"] = condition.below
    return document


def _calibration_document(of: Calibration | None) -> dict[str, Any] | None:
    if of is None:
        return None
    return {
        "brier": of.brier,
        "ece": of.ece,
        "reliability": [
            {
                "from": float(of.edges[i]),
                "to": float(of.edges[i + 1]),
                "n": int(of.counts[i]),
                "mean_score": _finite(float(of.mean_score[i])),
                "share_positive": _finite(float(of.share_positive[i])),
            }
            for i in range(len(of.counts))
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
