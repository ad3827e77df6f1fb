"""How long scoring takes: run with ``pytest tests/benchmarks --benchmark-only -n 0``."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.scoring.bootstrap import bootstrap
from bench.scoring.paired import paired_tests
from bench.scoring.report import score_studies

STUDIES, CONDITIONS = 25_000, 14
NAMES = tuple(str(c) for c in range(CONDITIONS))


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((STUDIES, CONDITIONS)) < 0.5).astype(np.float32)
    return labels, rng.normal(size=(1, STUDIES, CONDITIONS)) + labels


def test_auroc_and_delong(
    benchmark: BenchmarkFixture, scored: tuple[np.ndarray, np.ndarray]
) -> None:
    """14 conditions of 25,000 studies with intervals and their mean: at most 0.2 s."""
    report = benchmark(score_studies, *scored, NAMES)
    assert report.n == STUDIES
    assert benchmark.stats.stats.median < 0.2


def test_paired_delong(benchmark: BenchmarkFixture, scored: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = scored
    results = benchmark(paired_tests, labels, scores, np.exp(scores), NAMES)
    assert [r.p for r in results] == [1.0] * CONDITIONS


def test_bootstrap(benchmark: BenchmarkFixture, scored: tuple[np.ndarray, np.ndarray]) -> None:
    """1,000 replicates of all conditions, by patient: at most 5 s."""
    patients = np.repeat(np.arange(STUDIES // 2), 2)
    result = benchmark.pedantic(bootstrap, (*scored, patients), rounds=2)
    assert result.aurocs.shape == (1000, CONDITIONS)
    assert benchmark.stats.stats.min < 5.0
