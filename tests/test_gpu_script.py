"""The script that measures on a GPU: its verdicts by hand, and all of it in miniature on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.gpu_verdicts import fastest, tables, verdicts

SCRIPT = Path(__file__).parent / "benchmarks" / "gpu_throughput.py"


def row(batch: int, speed: float | None, step: str = "graph") -> dict:
    return {"batch": batch, "step": step, "training_images_per_second": speed}


KNOWN = {
    "machine": {"gpu": "a GPU"},
    "throughput": {"rows": [row(16, 1999.0), row(128, 2900.0), row(256, None)]},
    "compiled": {"rows": [row(16, 1500.0, "compiled graph"), row(128, 3000.0, "compiled graph")]},
    "run": {"best": 128, "batches": {"128": {"images_per_second": 3100.0, "step": "graph"}}},
    "chexpert": {"epoch_seconds": [70.0, 80.0]},
    "federation": {"clients": {"5": {"overhead": 0.03, "images_a_client": 640}}},
    "several": {
        "2nn": {"ratio": 0.3, "chosen_seconds": 0.02, "step_reason": "clients at once"},
        "cnn": {"ratio": 1.06, "chosen_seconds": 0.5, "step_reason": "clients one after another"},
    },
    "tests": {"exit_code": 0, "summary": "20 passed in 9 s", "failed": []},
}


def test_every_bar_is_reached_missed_or_not_measured():
    found = verdicts(KNOWN, 16, [5, 100], ["2nn", "cnn", "2nn-small"])
    assert [(r["measured"], r["verdict"]) for r in found] == [
        ("3,000 images/s (batch 128, compiled graph)", "reached"),
        ("1,999 images/s (batch 16, graph)", "MISSED"),
        ("3,100 images/s (batch 128, graph)", "reached"),
        (None, "not measured"),
        ("225 s, from 2 measured", "reached"),
        ("+3.0% (640 images a client)", "reached"),
        (None, "not measured"),
        ("0.30 of that, 0.0200 s a round (clients at once)", "reached"),
        ("1.06 of that, 0.5000 s a round (clients one after another)", "MISSED"),
        (None, "not measured"),
        ("20 passed in 9 s", "reached"),
    ]
    assert "verdict" not in [c.key for c in tables({}, found, dry=True)[-1].columns]


def test_nothing_measured_is_nothing_reached():
    found = verdicts({"throughput": None, "chexpert": {"epoch_seconds": []}}, 16, [5])
    assert {r["verdict"] for r in found} == {"not measured"}
    assert fastest({}) is None


@pytest.mark.parametrize(
    ("code", "summary"), [(1, "1 failed, 19 passed in 9 s"), (0, "20 skipped in 1 s")]
)
def test_tests_that_fail_or_were_skipped_reach_nothing(code, summary):
    found = verdicts({"tests": {"exit_code": code, "summary": summary}}, 16, [])
    assert found[-1]["verdict"] == "MISSED"


def test_without_a_gpu_it_says_so(monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no CUDA device" in done.stderr


@pytest.mark.slow
def test_all_of_it_in_miniature(tmp_path):
    """Every part runs to its end; a part that fails leaves its bar unmeasured and exit code 1."""
    output = tmp_path / "gpu.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--dry", "--output", output], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "no measurement" in done.stdout
    known = json.loads(output.read_text())
    assert known["chexpert"]["images"] == 50
    assert len(known["chexpert"]["epoch_seconds"]) == 3
    assert known["federation"]["clients"].keys() == {"2", "3"}
    assert len(known["run"]["batches"]) >= 1
    again = subprocess.run(
        [sys.executable, SCRIPT, "--dry", "--output", output, "--parts", "tests"],
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(output.read_text())["chexpert"] == known["chexpert"]
