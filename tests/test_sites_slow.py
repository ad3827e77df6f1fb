"""Sites that take longer: real radiographs, and the processes of a team."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.results.run import Run, find_runs
from tests.shared_data import shared
from tests.tiny_tree import bench, write_suite, write_tree

SITES = "  partition: {name: natural, column: site}\n"

pytestmark = pytest.mark.slow


def suite(folder: Path, more: str, observations: str) -> Path:
    file = write_suite(folder / "s.yaml", SITES + more, observations=observations, rounds=1)
    file.write_text(file.read_text().replace("clients: 3", "clients: 2"))
    return file


def ran(file: Path, data: dict[str, Path], results: Path, *more: str) -> dict[str, Run]:
    trees = [f"--data={name}={tree}" for name, tree in data.items()]
    done = bench("run", file, *trees, "--results", results, *more, cache=file.parent / "cache")
    assert done.returncode == 0, done.stderr
    return {run.name: run for run in find_runs([results])}


def test_two_real_trees(tmp_path: Path) -> None:
    """NIH radiographs of two selections, of other sizes and encodings, with four conditions that
    neither labels."""
    data = {"nih621-320": shared("nih621-320"), "small": shared("nih1000-64")}
    file = suite(tmp_path, "  strategy: fedavg\n", "all")
    (run,) = ran(file, data, tmp_path / "results", "-s", "batch_size=32").values()
    assert run.data["partition"]["sizes"] == [411, 732]
    assert run.data["splits"]["valid"]["images"] == 478
    sites = run.metrics["valid"]["sites"]
    assert {name: block["n"] for name, block in sites.items()} == {"nih621-320": 210, "small": 268}
    unlabelled = ["Enlarged Cardiomediastinum", "Lung Opacity", "Fracture", "Support Devices"]
    assert run.data["sites"]["small"]["unlabelled"] == unlabelled
    assert sites["small"]["observations"]["Fracture"]["auroc"] is None


def test_two_processes_give_the_bits_of_one(tmp_path: Path) -> None:
    """With stacked images, unknown labels and a policy a site."""
    data = {name: write_tree(tmp_path / name, seed=i) for i, name in enumerate("ab")}
    for file in data["b"].glob("*.csv"):
        header, *rows = file.read_text().splitlines()
        column = header.split(",").index("Edema")
        cells = [row.split(",") for row in rows]
        blank = [",".join(["" if i == column else c for i, c in enumerate(row)]) for row in cells]
        file.write_text("\n".join([header, *blank]) + "\n")
    policies = "  label_policy: {sites: {a: u-ones, b: u-ignore}}\n"
    more = "grid: {strategy: [local, fedavg, fedbn]}\n"
    file = write_suite(tmp_path / "s.yaml", SITES + policies + more, rounds=1)
    text = (
        file.read_text().replace("clients: 3", "clients: 2").replace("  label_policy: u-ones\n", "")
    )
    file.write_text(text)
    one = ran(file, data, tmp_path / "one")
    two = ran(file, data, tmp_path / "two", "--workers", "2")
    assert {name: run.weights_sha256 for name, run in one.items()} == {
        name: run.weights_sha256 for name, run in two.items()
    }
    assert {name: run.metrics for name, run in one.items()} == {
        name: run.metrics for name, run in two.items()
    }
    assert one["fedavg"].data["sites"]["b"]["unlabelled"] == ["Edema"]
