"""This project's engine as ``bench run --workers 2`` drives it: two processes of a thread each.

The workload's images are written as idx files first, because that is what the processes share; the
time it takes counts.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np

from bench.garbage import uncollected
from bench.runs.crew import Crew
from bench.runs.hardware import Hardware
from bench.runs.member import SCENARIO
from bench.runs.source import find_source, open_data
from tests.benchmarks.peers.ours_scenario import scenario_of
from tests.benchmarks.peers.workload import SIDE, Clock, asked, data

WORKERS = 2


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """The idx files of MNIST; the test images, which are not used here, are the first ones."""
    for part, count in (("train", len(images)), ("t10k", 1)):
        header = struct.pack(">4I", 0x0803, count, SIDE, SIDE)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images[:count].tobytes())
        header = struct.pack(">2I", 0x0801, count)
        whole = header + labels[:count].astype(np.uint8).tobytes()
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(whole)
    return folder


def main() -> None:
    workload, rounds = asked()
    clock = Clock()
    scenario = scenario_of(workload, rounds)
    with tempfile.TemporaryDirectory() as name, Crew(WORKERS) as crew:
        folder = Path(name)
        team = crew.enrol()
        with uncollected():  # while the other starts
            from bench.runs.ensemble import Ensemble

        root = write(folder, *data(workload))
        material = open_data(find_source([root], "mnist")).prepare(
            SIDE, cache=folder, on_bad_image="fail"
        )
        hardware = Hardware.open("cpu", place=crew.place, team=WORKERS)
        told = {"data": [str(root)], "device": "cpu", "on_bad_image": "fail"}
        told |= {"scenario": scenario.row(), "threads": hardware.threads}
        told |= {"folder": str(folder / "run")}
        team.share([SCENARIO, told])
        ensemble = Ensemble.assemble(
            team, scenario, lambda: material, lambda: hardware, folder / "run"
        )
        for number in range(1, rounds + 1):
            ensemble.round(number)
            clock.lap()
        crew.dismiss()
    clock.report()


main()
