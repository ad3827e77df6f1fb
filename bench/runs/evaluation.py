"""Scoring the models a federation holds: images → views → studies → AUROC."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.split import Split
from bench.observations import UNCERTAIN
from bench.runs.material import Members, Predict
from bench.scoring.report import score_studies
from bench.scoring.studies import StudyScores
from bench.scoring.views import combine_views


def score_members(
    members: Members,
    predict: Predict,
    split: Split,
    images: NDArray[np.uint8],
    observations: tuple[str, ...],
    views: str,
) -> StudyScores:
    """Scores every member on a split, each study by its views.

    ``images`` (n, size, size) are the split's; ``predict`` gives (n, o) scores over
    ``observations``. An uncertain label is no truth to score against and counts as not labelled.
    """
    scores, names = [], []
    for name, load in members:
        load()
        scores.append(combine_views(predict(images), split, views))
        names.append(name)
    return StudyScores(
        studies=split.studies,
        patients=split.patients[split.study_patient()],
        observations=observations,
        labels=truth(split, observations),
        scores=np.stack(scores).astype(np.float32),
        members=tuple(names),
    )


def truth(split: Split, observations: tuple[str, ...]) -> NDArray[np.float32]:
    """(s, o) labels per study, 0 or 1; NaN where not mentioned, uncertain, or without a column."""
    columns = [split.observations.index(name) for name in observations]
    labels = split.study_labels()[:, columns].astype(np.float32)
    labels[labels == UNCERTAIN] = np.nan
    return labels


def metrics_of(scored: StudyScores, views: str) -> dict[str, Any]:
    """The metrics block of run.json for one split."""
    report = score_studies(scored.labels, scored.scores, scored.observations)
    return {"level": "study", "views": views, **report.metrics()}


def personal_of(scored: StudyScores) -> dict[str, Any]:
    """How clients' own models score: as one block over all of them, and client by client."""
    report = score_studies(scored.labels, scored.scores, scored.observations)
    alone = [
        score_studies(scored.labels, member[None], scored.observations).mean_auroc
        for member in scored.scores
    ]
    return {**report.metrics(), "clients": dict(zip(scored.members, alone, strict=True))}


def summary_of(scored: StudyScores) -> dict[str, Any]:
    """The figures a round's line carries: AUROC per observation and their competition mean."""
    metrics = score_studies(scored.labels, scored.scores, scored.observations).metrics()
    return {
        "mean_auroc": metrics["mean_auroc"],
        "auroc": {name: row["auroc"] for name, row in metrics["observations"].items()},
    }
