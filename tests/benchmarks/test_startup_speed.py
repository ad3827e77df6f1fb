"""What a person waits for before anything happens, in processor time of whole processes.

Run with ``pytest tests/benchmarks/test_startup_speed.py --benchmark-only -n 0``. Other work on the
machine disturbs processor time least; a process that has the machine to itself takes about as long.

bench is compiled to bytecode first, as pip does where it installs it: a checkout whose environment
says PYTHONDONTWRITEBYTECODE would compile a hundred modules anew at every start.
"""

from __future__ import annotations

import compileall
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.runs_on_disk import SCENARIO, some_scores, write_run
from tests.tiny_tree import CHECKOUT, bench, command, environment, write_suite, write_tree

ROUNDS = 3
BAR = 2.0
"""Seconds, of the issue that sets these bars."""
OWN_BAR = 1.0
"""Seconds from imports that cannot be done without to the first round: what is bench's own."""
HELP_BAR = 0.3
"""Seconds in which help is there."""
MANY = """\
suite: many
description: Ten thousand scenarios.
grid:
  strategy: [fedavg, fedprox, fedavgm, median]
  rounds: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  clients: [5, 6, 7, 8, 9]
  seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  local_epochs: [1, 2, 3, 4, 5]
"""
RUNS = 100
BEFORE_THE_FIRST_ROUND = """
import os
from bench.federation.engine import Federation
Federation.round = lambda *_: os._exit(0)
"""


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    assert compileall.compile_dir(CHECKOUT / "bench", quiet=1)


def processor_seconds(
    arguments: Sequence[str], *, cwd: Path, cache: Path
) -> tuple[float, subprocess.CompletedProcess[str]]:
    """What a process and its children took, the least of a few, and how the last one ended."""
    taken = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            arguments, cwd=cwd, env=environment(cache), capture_output=True, text=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(taken), done


def once(benchmark: BenchmarkFixture, action: Callable[[], float]) -> float:
    """The seconds that ``action`` measured, kept with the benchmark."""
    seconds = float(benchmark.pedantic(action, rounds=1))
    benchmark.extra_info["processor seconds"] = round(seconds, 2)
    return seconds


def test_help(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    def help_() -> float:
        return processor_seconds(command(["--help"]), cwd=tmp_path, cache=tmp_path)[0]

    assert once(benchmark, help_) < HELP_BAR


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_plan_of_ten_thousand_scenarios(
    benchmark: BenchmarkFixture, tmp_path: Path, form: str
) -> None:
    (tmp_path / "many.yaml").write_text(MANY)
    write_tree(tmp_path / "tree")

    def plan() -> float:
        line = command(["plan", "many.yaml", "--data", "tree", "--format", form])
        seconds, done = processor_seconds(line, cwd=tmp_path, cache=tmp_path / "cache")
        found = (
            len(json.loads(done.stdout)["rows"]) if form == "json" else done.stdout.count("to do")
        )
        assert found == 10_000
        return seconds

    assert once(benchmark, plan) < BAR


@pytest.mark.parametrize("against", ["paper", "a run"])
def test_a_comparison_of_a_hundred_runs(
    benchmark: BenchmarkFixture, tmp_path: Path, against: str
) -> None:
    real = {"name": "CheXpert-v1.0-small", "digest": "c" * 64, "synthetic": False}
    runs = [
        write_run(
            tmp_path / "results" / "smoke",
            name=f"run{number}",
            scenario=replace(SCENARIO, rounds=number + 1),
            scores=some_scores(seed=number),
            data=real,
        )
        for number in range(RUNS)
    ]
    other = "paper" if against == "paper" else str(runs[0].folder)
    torch_free = "import sys; sys.modules['torch'] = None"

    def compare() -> float:
        line = command(["compare", "--against", other, "--json"], torch_free)
        seconds, done = processor_seconds(line, cwd=tmp_path, cache=tmp_path / "cache")
        assert len(json.loads(done.stdout)["comparisons"]) == RUNS - (other != "paper")
        return seconds

    assert once(benchmark, compare) < BAR


@pytest.mark.parametrize(("backbone", "library"), [("densenet121", "torch"), ("resnet10t", "timm")])
def test_from_a_second_start_to_the_first_round(
    benchmark: BenchmarkFixture, tmp_path: Path, backbone: str, library: str
) -> None:
    """Beyond what importing the library costs that the backbone needs."""
    write_tree(tmp_path / "tree")
    suite = write_suite(tmp_path / "s.yaml", "  strategy: fedavg\n", rounds=1)
    cache = tmp_path / "cache"
    arguments: list[str | Path] = [
        "run",
        suite,
        "--data",
        tmp_path / "tree",
        "--results",
        tmp_path / "r",
        "--fresh",
        "-s",
        f"backbone={backbone}",
        "-s",
        "optimizer.lr=1e-6",  # normalised over two images of one pixel, gradients are enormous
    ]
    first = bench(*arguments, cache=cache)
    assert first.returncode == 0, first.stderr
    imports, _ = processor_seconds(
        [sys.executable, "-c", f"import os, {library}; os._exit(0)"], cwd=tmp_path, cache=cache
    )

    def start() -> float:
        line = command(arguments, BEFORE_THE_FIRST_ROUND)
        return processor_seconds(line, cwd=tmp_path, cache=cache)[0]

    seconds = once(benchmark, start)
    benchmark.extra_info[f"beyond importing {library}"] = round(seconds - imports, 2)
    assert seconds - imports < OWN_BAR
