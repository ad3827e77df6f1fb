"""Scoring the models a federation holds: images → views → studies → AUROC."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.joining import SITE, sites_of
from bench.data.split import Split
from bench.data.stacked import Images
from bench.observations import UNCERTAIN
from bench.runs.material import Members, Predict
from bench.scoring.report import score_studies
from bench.scoring.studies import StudyScores
from bench.scoring.views import combine_views


def score_members(
    members: Members,
    predict: Predict,
    split: Split,
    images: Images,
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
    return {"level": "study", "views": views, **block_of(scored)}


def block_of(scored: StudyScores) -> dict[str, Any]:
    """The scores of the members together and, where there are several, of each: ``by_member``."""
    report = score_studies(scored.labels, scored.scores, scored.observations)
    block = report.metrics()
    if len(scored.members) > 1:
        alone = [
            aurocs_of(replace(scored, scores=scores[None], members=(name,)))
            for name, scores in zip(scored.members, scored.scores, strict=True)
        ]
        block["by_member"] = dict(zip(scored.members, alone, strict=True))
    return block


def by_site(scored: StudyScores, split: Split) -> dict[str, Any]:
    """``sites``: the same figures over each site's studies alone; nothing where no site is known.

    A study is at the site of its first image in the split.
    """
    sites = sites_of(split)
    if not sites:
        return {}
    own = split.extra[SITE][split.study_row()]
    return {"sites": {site: block_of(scored.take(np.flatnonzero(own == site))) for site in sites}}


def aurocs_of(scored: StudyScores) -> dict[str, Any]:
    """AUROC per observation and their competition mean: what a round's line carries."""
    report = score_studies(scored.labels, scored.scores, scored.observations)
    return {
        "mean_auroc": report.mean_auroc,
        "auroc": {condition.name: condition.auroc for condition in report.conditions},
    }
