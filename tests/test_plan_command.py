"""``bench plan``: what is to do, done, interrupted or failed; where values come from; the cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.data.chexpert import read_tree
from bench.environment import machine
from bench.results.ownership import owned
from bench.suites.suite import load_suite
from tests.in_process import Ended, call
from tests.runs_on_disk import ENVIRONMENT, write_run
from tests.tiny_tree import write_suite, write_tree

GRID = """\
grid:
  strategy: [centralized, {name: fedprox, mu: 0.1}]
  seed: [0, 1]
"""


class Place:
    """A tree, a suite of four scenarios, and results to be written by hand."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.tree = write_tree(folder / "tree")
        self.suite = write_suite(folder / "s.yaml", GRID)
        self.results = folder / "results"

    def plan(self, *more: str | Path) -> Ended:
        paths = ("--data", self.tree, "--results", self.results)
        return call(self.capsys, "plan", self.suite, *paths, *more)

    def rows(self, *more: str | Path) -> list[dict[str, Any]]:
        done = self.plan("--json", *more)
        assert done.code == 0, done.err
        rows: list[dict[str, Any]] = json.loads(done.out)["rows"]
        return rows

    def write(self, number: int, **changes: Any) -> Path:
        """A run of the suite's scenario of that number, where ``bench run`` would keep it."""
        planned = load_suite(str(self.suite)).scenarios()[number]
        identity = planned.scenario.identity(read_tree(self.tree).digest)
        folder = self.results / "tiny" / f"{planned.name}-{identity[:8]}"
        run = write_run(self.results / "made", name=planned.name, scenario=planned.scenario)
        folder.parent.mkdir(parents=True, exist_ok=True)
        run.folder.rename(folder)
        replace(run, folder=folder, suite="tiny", **changes).write()
        return folder


@pytest.fixture
def place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Place:
    monkeypatch.delenv("CHEXPERT_ROOT", raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return Place(tmp_path, capsys)


def test_everything_is_to_do_at_first_and_nothing_is_written(place: Place) -> None:
    before = sorted(place.folder.rglob("*"))
    rows = place.rows()
    assert [row["status"] for row in rows] == ["to do"] * 4
    assert [row["rounds"] for row in rows] == [2] * 4
    # 32 training images, one epoch a round, two rounds.
    assert [row["training_images"] for row in rows] == [64] * 4
    assert [row["seconds"] for row in rows] == [None] * 4
    text = place.plan().out
    assert "of which there is none" in text
    assert "Estimated time" not in text
    assert sorted(place.folder.rglob("*")) == before


def test_every_state_is_told(place: Place) -> None:
    place.write(0)
    place.write(1, status="failed", error={"type": "NonFiniteError", "message": "…"})
    place.write(2, status="interrupted")
    killed = place.write(3, status="running")
    statuses = ["done", "failed", "interrupted", "interrupted"]
    assert [row["status"] for row in place.rows()] == statuses
    with owned(killed):
        assert place.rows()[3]["status"] == "running"
    (killed / "run.json").write_text("{")
    assert place.rows()[3]["status"] == "unreadable"
    text = place.plan().out
    for word in ("done", "failed", "interrupted", "unreadable"):
        assert word in text


def test_what_run_would_refuse_is_refused(place: Place) -> None:
    (place.folder / "file").write_text("")
    for results, found in (("file", "found: a file"), ("file/below", "file is a file")):
        place.results = place.folder / results
        done = place.plan()
        assert done.code == 2
        assert "runs cannot be kept here" in done.err
        assert found in done.err


def test_other_data_is_another_run(place: Place) -> None:
    place.write(0)
    assert place.rows()[0]["status"] == "done"
    valid = place.tree / "valid.csv"
    valid.write_text(valid.read_text().replace(",1.0", ",0.0", 1))
    assert place.rows()[0]["status"] == "to do"


def test_cost_is_the_images_and_this_machine_s_speed(place: Place) -> None:
    here = machine(gpu=None)
    for number, found in enumerate(({**here, "processor": "another"}, here)):
        environment = {**ENVIRONMENT, "machine": found}
        place.write(number, environment=environment, totals={**totals(), "images_per_second": 16.0})
        assert [row["seconds"] for row in place.rows()] == [(None, 4.0)[number]] * 4


def totals() -> dict[str, Any]:
    return {"seconds": 4.0, "examples": 64, "bytes_up": 0, "bytes_down": 0}


def test_cost_counts_epochs_sampling_and_the_second_training(place: Place) -> None:
    def images(*overrides: str) -> list[int]:
        flags = [part for override in overrides for part in ("-s", override)]
        return [row["training_images"] for row in place.rows("-k", "seed=0", *flags)]

    assert images("local_epochs=3") == [192, 192]
    # Centralised training has no clients to draw.
    assert images("fraction=0.5", "clients=4") == [64, 32]
    assert images("label_policy=u-selftrained") == [128, 128]


def test_origins_name_the_file_the_grid_and_the_command_line(place: Place) -> None:
    row = place.rows("-s", "rounds=5", "-k", "fedprox and seed=1")[0]
    origin = row["origin"]
    assert row["values"]["rounds"] == 5
    assert origin["rounds"].startswith("-s")
    assert origin["clients"] == f"defaults ({place.suite}:8:12)"
    assert origin["strategy"].startswith(f"grid ({place.suite}:14:")
    assert origin["views"] == "bench's default"
    text = place.plan("--origins", "-k", "fedprox").out
    assert "fedprox(mu=0.1)" in text
    assert f"{place.suite}:8:12" in text


def test_phantom_that_is_not_there_is_not_made(place: Place) -> None:
    done = call(place.capsys, "plan", "smoke", "--results", place.results, "--json")
    document = json.loads(done.out)
    assert {row["status"] for row in document["rows"]} == {"to do"}
    assert {row["training_images"] for row in document["rows"]} == {None}
    assert any("has not been generated" in note for note in document["notes"])
    assert not (place.folder / "cache").exists()


@pytest.mark.parametrize(
    "suite",
    ["fedavg", "label_policies", "noniid", "strategies", "clients", "backbones", "smoke"],
)
def test_every_shipped_suite_can_be_planned(place: Place, suite: str) -> None:
    done = call(place.capsys, "plan", suite, "--data", place.tree)
    assert done.code == 0
    assert f"Suite {suite}" in done.out
