"""What is compared: one run, or the runs of one scenario under several seeds."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.errors import NotComparable
from bench.results.run import Run
from bench.scoring.report import score_studies
from bench.scoring.studies import StudyScores, align

Method = Literal["logit", "wald"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A scenario's result on one split."""

    name: str
    split: str
    runs: tuple[Run, ...]
    """One, or one a seed; their scenarios differ in the seed only."""
    metrics: dict[str, Any]
    """The split's block of run.json. With several seeds each AUROC is the mean over them and its
    interval is the studies': it says what other studies would change, not what other seeds would.
    """
    sd: dict[str, float]
    """With several seeds: per observation, and for ``mean``, the standard deviation over them."""

    @property
    def run(self) -> Run:
        """The run, or the first of the seeds': they agree in everything but the seed."""
        return self.runs[0]

    @property
    def synthetic(self) -> bool:
        """True where the data was generated."""
        return self.run.synthetic


def subjects(runs: Sequence[Run], split: str, method: Method = "logit") -> list[Subject]:
    """The runs that were scored on ``split``, seeds of one scenario taken together, in order.

    No two may be of the same scenario and seed: see :func:`bench.results.names.without_repeats`.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if split in run.metrics:
            groups.setdefault(_apart_from_seed(run), []).append(run)
    return [_subject(tuple(group), split, method) for group in groups.values()]


def _apart_from_seed(run: Run) -> str:
    row = {key: value for key, value in run.scenario.items() if key != "seed"}
    return json.dumps([run.suite, run.semantics, run.data.get("digest"), row], sort_keys=True)


def _subject(runs: tuple[Run, ...], split: str, method: Method) -> Subject:
    if len(runs) == 1 and method == "logit":
        return Subject(
            name=runs[0].name, split=split, runs=runs, metrics=runs[0].metrics[split], sd={}
        )
    scored = _together([run.scores(split) for run in runs])
    report = score_studies(scored.labels, scored.scores, scored.observations, method)
    block = runs[0].metrics[split]
    metrics = {"level": block["level"], "views": block["views"], **report.metrics()}
    name = runs[0].name if len(runs) == 1 else _common_name(runs)
    return Subject(name=name, split=split, runs=runs, metrics=metrics, sd=_spread(runs, split))


def _together(parts: Sequence[StudyScores]) -> StudyScores:
    """The members of every seed, as members of one: an AUROC is then the mean over all of them."""
    first = parts[0]
    aligned = [first]
    for other in parts[1:]:
        a, b = align(first, other)
        if a.observations != first.observations:
            raise NotComparable("the seeds of one scenario were scored on other observations")
        aligned.append(b)
    return StudyScores(
        studies=first.studies,
        patients=first.patients,
        observations=first.observations,
        labels=first.labels,
        scores=np.concatenate([part.scores for part in aligned]),
        members=tuple(
            f"seed {number}: {member}"
            for number, part in enumerate(aligned)
            for member in part.members
        ),
    )


def _spread(runs: Sequence[Run], split: str) -> dict[str, float]:
    """Sample standard deviation over seeds, where every seed has a value."""
    if len(runs) < 2:
        return {}
    blocks = [run.metrics[split] for run in runs]
    values = {
        name: [block["observations"][name]["auroc"] for block in blocks]
        for name in blocks[0]["observations"]
    }
    values["mean"] = [block["mean_auroc"] for block in blocks]
    return {
        name: statistics.stdev(found)
        for name, found in values.items()
        if all(value is not None for value in found)
    }


def _common_name(runs: Sequence[Run]) -> str:
    """The runs' name without the seed, and how many seeds there were."""
    plain = re.sub(r"-?seed-?\d+", "", runs[0].name).strip("-") or runs[0].suite
    return f"{plain} ({len(runs)} seeds)"
