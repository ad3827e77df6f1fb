"""What helpers gain where Python draws: figures of a run and images of a phantom.

Run with ``pytest tests/benchmarks/test_drawing_speed.py --benchmark-only -n 0 -s``. One process and
one for each core take turns; the bar is half of what that many cores could gain.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.environment import granted_cores
from bench.observations import OBSERVATIONS
from bench.report.drawing import Drawers
from bench.report.roc import panels_of
from tests.phantom_trees import write_small
from tests.runs_on_disk import some_scores, write_run

TURNS = 5
MOST = 8
"""Processes that are asked for at most."""


@pytest.fixture(autouse=True)
def _several_cores() -> None:
    if granted_cores() < 2:
        pytest.skip("there is one core")


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def gain(what: str, one: Callable[[], object], many: Callable[[], object]) -> float:
    """How many times as fast ``many`` is, by medians of turns."""
    turns = [(seconds(one), seconds(many)) for _ in range(TURNS)]
    before, after = (statistics.median(column) for column in zip(*turns, strict=True))
    print(f"\n{what}: {before:.2f} s by one process, {after:.2f} s by one a core")
    return before / after


def half_of_the_cores() -> float:
    return 1 + (min(granted_cores(), MOST) - 1) / 2


def test_figures_of_a_run(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    run = write_run(tmp_path, scores=some_scores(observations=OBSERVATIONS))
    panels = panels_of(run, "valid", {})
    with Drawers() as drawers:
        alone = Drawers(0)
        for made in (alone, drawers):  # imports, and helpers start
            made.draw(panels, tmp_path)
        found = gain(
            f"{len(panels)} figures as PNG and SVG",
            lambda: alone.draw(panels, tmp_path),
            lambda: drawers.draw(panels, tmp_path),
        )
        benchmark.pedantic(drawers.draw, (panels, tmp_path), rounds=1)
    assert found >= half_of_the_cores()


def test_images_of_a_phantom(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Of the embedded one's size and half of its patients; helpers start every time."""
    patients = {"train_patients": 200, "valid_patients": 60, "test_patients": 60, "size": 96}

    def draw(workers: int) -> None:
        write_small(tmp_path / "tree", workers=workers, **patients)
        shutil.rmtree(tmp_path / "tree")

    many = min(granted_cores(), MOST)
    found = gain("320 patients at 96 px", lambda: draw(1), lambda: draw(many))
    benchmark.pedantic(draw, (many,), rounds=1)
    assert found >= half_of_the_cores()
