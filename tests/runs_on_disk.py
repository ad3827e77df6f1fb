"""Run folders as ``bench run`` leaves them, written without training anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.observations import COMPETITION
from bench.results.run import ROUNDS_FILE, Run, scores_file
from bench.scoring.report import score_studies
from bench.scoring.studies import StudyScores
from bench.suites.scenario import SEMANTICS, Scenario

DIGEST = "d" * 64
SCENARIO = Scenario(
    observations=COMPETITION,
    label_policy=tuple((name, "u-ones") for name in COMPETITION),
    backbone="resnet18",
    image_size=32,
    rounds=8,
)
MACHINE = {
    "processor": "Processor A",
    "cores": 2,
    "memory_gib": 8,
    "gpu": None,
    "system": "Linux x86_64",
}
ENVIRONMENT: dict[str, Any] = {
    "machine": MACHINE,
    "versions": {"python": "3.11.9", "torch": "2.11.0", "numpy": "2.3.0", "bench": "0.1.0"},
    "device": "cpu",
    "precision": "fp32",
    "threads": 2,
}
ELSEWHERE = {**ENVIRONMENT, "machine": {**MACHINE, "processor": "Processor B"}}


def some_scores(
    *,
    studies: int = 200,
    observations: Sequence[str] = COMPETITION,
    strength: float = 1.5,
    seed: int = 0,
    members: int = 1,
) -> StudyScores:
    """Scores whose positives stand ``strength`` standard deviations above the negatives.

    Labels depend on the number of studies and observations only, so that two calls with another
    seed or strength are two models on the same studies. A third of the labels are positive.
    """
    labels = np.random.default_rng(len(observations)).random((studies, len(observations))) < 1 / 3
    noise = np.random.default_rng(seed + 1).normal(size=(members, studies, len(observations)))
    return StudyScores(
        studies=np.array([f"patient{i:05d}/study1" for i in range(studies)]),
        patients=np.array([f"patient{i:05d}" for i in range(studies)]),
        observations=tuple(observations),
        labels=labels.astype(np.float32),
        scores=(1 / (1 + np.exp(-(strength * labels + noise)))).astype(np.float32),
        members=tuple(f"member{m}" for m in range(members)),
    )


def some_rounds(
    speeds: Sequence[float], yardsticks: Sequence[float | None] | None = None
) -> list[dict[str, Any]]:
    """Rounds with those training speeds, images/s, and the yardstick timed beside each."""
    return [
        {
            "round": number,
            "loss": 0.7 / number,
            "clients": [0, 1],
            "examples": 640,
            "steps": 20,
            "seconds": 640 / speed,
            "images_per_second": speed,
            "yardstick": yardsticks[number - 1] if yardsticks else None,
            "bytes_up": 1000,
            "bytes_down": 1000,
            "evaluated": False,
            "mean_auroc": None,
            "auroc": None,
        }
        for number, speed in enumerate(speeds, start=1)
    ]


STEADY = (90.0, 100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8)
"""Speeds of eight rounds, the first being slower, as it is."""


def bare_run(folder: Path, **changes: Any) -> Run:
    """A finished run's record as far as it must be filled in; nothing is written."""
    run = Run(
        folder=folder,
        suite="s",
        name="a",
        hash="0" * 16,
        semantics=1,
        status="done",
        owner={},
        scenario=Scenario().row(),
        origin={},
        environment={},
        git={},
        data={"name": "phantom", "digest": "0" * 64, "synthetic": True},
    )
    return replace(run, **changes)


def write_run(
    root: Path,
    *,
    name: str = "fedavg",
    suite: str = "smoke",
    scenario: Scenario = SCENARIO,
    digest: str = DIGEST,
    scores: StudyScores | None = None,
    rounds: Sequence[dict[str, Any]] | None = None,
    environment: dict[str, Any] = ENVIRONMENT,
    weights: str = "a" * 64,
    split: str = "valid",
    **changes: Any,
) -> Run:
    """Writes ``root/<name>-<hash8>`` with run.json, rounds.jsonl and the split's scores.

    ``changes`` replace fields of the :class:`Run` in the end, such as ``status="failed"``.
    """
    scored = some_scores() if scores is None else scores
    identity = scenario.identity(digest)
    folder = root / f"{name}-{identity[:8]}"
    sha256 = scored.save(folder / scores_file(split))
    report = score_studies(scored.labels, scored.scores, scored.observations)
    run = Run(
        folder=folder,
        suite=suite,
        name=name,
        hash=identity,
        semantics=SEMANTICS,
        status="done",
        owner={"pid": 1, "host": "somewhere", "started": "2026-01-01T00:00:00+00:00"},
        scenario=scenario.row(),
        origin={"rounds": "/home/somebody/suite.yaml:3:1"},
        environment=environment,
        git={"commit": None, "dirty": None},
        data={"name": "phantom", "digest": digest, "synthetic": True, "ideal_auroc": None},
        metrics={split: {"level": "study", "views": scenario.views, **report.metrics()}},
        weights_sha256=weights,
        scores_sha256={split: sha256},
    )
    records = some_rounds(STEADY) if rounds is None else rounds
    run = replace(run, **{"totals": _totals(records), **changes})
    run.write()
    lines = [json.dumps(record) for record in records]
    (folder / ROUNDS_FILE).write_text("".join(line + "\n" for line in lines))
    return run


def _totals(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What ``bench run`` sums up over the rounds."""
    sums = {key: sum(record[key] for record in rounds) for key in ("examples", "seconds")}
    return {
        **sums,
        "images_per_second": sums["examples"] / sums["seconds"],
        "bytes_up": 1000 * len(rounds),
        "bytes_down": 1000 * len(rounds),
    }
