"""``bench partition``, run as a person runs it, on label files without any image."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.observations import OBSERVATIONS
from tests.processes import process

SUITE = """
suite: sites
defaults: {rounds: 1, clients: 4}
grid:
  strategy: [centralized, fedavg, fedprox]
  partition: [iid, {name: dirichlet, alpha: 0.3, min_size: 5}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A suite and a tree of label files: 60 patients in train.csv, uncertain labels among them."""
    root = tmp_path_factory.mktemp("partition")
    (root / "sites.yaml").write_text(SUITE)
    tree = root / "tree"
    tree.mkdir()
    r = np.random.default_rng(0)
    for name, patients in (("train", 60), ("valid", 4)):
        rows = []
        for patient in range(patients):
            labels = r.choice(["1.0", "0.0", "-1.0", ""], p=[0.3, 0.2, 0.1, 0.4], size=14)
            for view in range(int(r.integers(1, 4))):
                path = f"{name}/patient{patient:05d}/study1/view{view + 1}_frontal.jpg"
                rows.append([path, "Male", 50, "Frontal", "AP", *labels])
        with (tree / f"{name}.csv").open("w", newline="") as file:
            head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS]
            csv.writer(file).writerows([head, *rows])
    return root


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return process("partition", "sites.yaml", "--data", "tree", *arguments, cwd=folder)


def test_every_partition_is_shown_once(folder):
    run = bench(folder)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("fingerprint") == 2
    assert "unbalanced sizes" in run.stdout
    assert "fedavg-iid, fedprox-iid" in run.stdout
    assert "centralized" not in run.stdout
    assert run.stderr == ""


def test_json_and_csv_have_every_client(folder):
    rows = json.loads(bench(folder, "--json").stdout)["rows"]
    images = (folder / "tree/train.csv").read_text().count("\n") - 1
    assert len(rows) == 8
    for name in ("iid", "dirichlet(alpha=0.3, balanced=false, min_size=5)"):
        mine = [row for row in rows if row["partition"] == name]
        assert sum(row["images"] for row in mine) == images
        assert sum(row["patients"] for row in mine) == 60
        assert len({row["fingerprint"] for row in mine}) == 1
    table = list(csv.DictReader(io.StringIO(bench(folder, "-f", "csv").stdout)))
    assert [row["fingerprint"] for row in table] == [row["fingerprint"] for row in rows]


def test_overrides_select_and_one_picture(folder):
    run = bench(folder, "-s", "clients=6", "-k", "iid", "--plot", "maps/map.svg", "--json")
    assert run.returncode == 0, run.stderr
    assert [row["client"] for row in json.loads(run.stdout)["rows"]] == list("012345")
    assert "iid" in (folder / "maps/map.svg").read_text(encoding="utf-8")
    assert run.stderr == "drew maps/map.svg\n"


def test_several_pictures_are_numbered(folder):
    run = bench(folder, "--plot", "many.png", "--json")
    assert run.stderr == "drew many-1.png\ndrew many-2.png\n"
    assert (folder / "many-2.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-s", "clients=61"], "from 1 to 60 clients, one patient each"),
        (["-s", "partition={name: dirichlet, min_size: 40}"], "min_size of at most"),
        (["-k", "centralized"], "no scenario divides its data"),
        (["--plot", "map.gif"], "ending in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_had_is_an_error_with_a_remedy(folder, arguments, words):
    run = bench(folder, *arguments)
    assert run.returncode == 2
    assert run.stdout == ""
    assert words in run.stderr
    assert "to mend:" in run.stderr
