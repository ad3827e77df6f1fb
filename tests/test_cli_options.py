"""Options that several commands share: numbers in their range, and what ``--quiet`` silences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.cli import options
from bench.verify.checks import Finding
from tests.in_process import Ended, call
from tests.runs_on_disk import SCENARIO, write_run
from tests.tiny_tree import write_suite, write_tree

REAL = {"name": "CheXpert-v1.0-small", "digest": "c" * 64, "synthetic": False}
GRID = "grid:\n  strategy: [fedavg, fedprox]\n"


@pytest.mark.parametrize(
    ("line", "option", "wanted"),
    [
        ("run smoke", "--workers", "a whole number from 1 to 4,096"),
        ("run smoke", "--threads", "a whole number from 1 to 4,096"),
        ("data pack", "--workers", "a whole number from 1 to 4,096"),
        ("data pack", "--size", "a whole number from 1 to 4,096"),
        ("data phantom", "--train-patients", "a whole number from 1"),
        ("data phantom", "--valid-patients", "a whole number from 0"),
        ("data phantom", "--test-patients", "a whole number from 0"),
        ("data phantom", "--workers", "a whole number from 1 to 4,096"),
        ("score a.csv --truth b.csv", "--replicates", "a whole number from 100 to 1,000,000"),
    ],
)
@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("-1", "is out of range"),
        ("9" * 25, "is out of range"),
        ("many", "is not a number"),
        ("1.5", "is not a number"),
        ("１", "is not a number"),
    ],
)
def test_what_is_no_number_of_the_range_is_refused_in_our_words(
    capsys: pytest.CaptureFixture[str], line: str, option: str, wanted: str, word: str, wrong: str
) -> None:
    ended = call(capsys, *line.split(), f"{option}={word}")
    assert ended.code == 2
    assert ended.err == f"bench: {option} {wrong}\n  expected: {wanted}\n  found: {word}\n"


@pytest.mark.parametrize(("low", "high"), [(1, 4), (0, None)])
def test_the_ends_of_a_range_belong_to_it(low: int, high: int | None) -> None:
    read = options._whole_number("--x", low, high)
    assert [read(str(low)), read(f"+{low}")] == [low, low]
    assert read(str(10**17 if high is None else high)) == (10**17 if high is None else high)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree, a suite, a run that is done, one that failed, and equivalences that take no time."""
    monkeypatch.delenv("CHEXPERT_ROOT", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_tree(Path("tree"))
    write_suite(Path("s.yaml"), GRID)
    write_run(Path("results/tiny"), name="done", data=REAL)
    dead = replace(SCENARIO, rounds=7)
    write_run(Path("results/tiny"), name="dead", scenario=dead, status="failed", data=REAL)
    finding = Finding(name="one is one", difference=0.0, tolerance=0.0)
    monkeypatch.setattr("bench.verify.checks.verify", lambda device: [finding])
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "plan s.yaml --data tree --format csv",
        "partition s.yaml --data tree --format csv --plot map.png",
        "compare results --against paper --format csv",
        "data info tree --format csv",
        "verify --device cpu --format csv",
    ],
)
def test_quiet_leaves_the_results_and_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    loud = call(capsys, *line.split())
    assert loud.code == 0, loud.err
    assert loud.err
    for option in ("-q", "--quiet"):
        assert call(capsys, *line.split(), option) == Ended(code=0, out=loud.out, err="")
