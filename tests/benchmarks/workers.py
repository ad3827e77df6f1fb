"""How much faster a round is with ``--workers``: measured in one process, rounds taken in turns.

    python -m tests.benchmarks.workers --workers 2 --backbone 2nn --rounds 20

A round of one process and a round of the team follow each other, on the same data (60,000 drawn
digits, 100 clients of 600, ten a round), so that whatever else the machine does meets both alike.
Prints the median seconds of a round, their ratio, and what a round of the team takes beyond the
training of its slowest member: messages, sums and waiting. On a machine that is busy with other
things the processor time of the leader tells more: what a round of its own costs it, and what its
share of the team's does.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.federation.team import ALONE
from bench.runs.crew import Crew
from bench.runs.digits import Digits
from bench.runs.ensemble import Ensemble
from bench.runs.hardware import Hardware
from bench.runs.member import SCENARIO
from bench.runs.source import find_source, open_data
from bench.suites.scenario import Choice, Scenario
from tests.digits_on_disk import write_digits


def scenario_of(backbone: str, batch_size: int) -> Scenario:
    return Scenario(
        dataset="mnist",
        backbone=backbone,
        image_size=28,
        observations=(),
        label_policy=(),
        clients=100,
        fraction=0.1,
        rounds=10_000,
        batch_size=batch_size,
        optimizer=Choice("sgd", (("lr", 0.05), ("momentum", 0.0))),
        precision="fp32",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--backbone", default="2nn")
    parser.add_argument("--batch-size", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, help="of the one process; default all cores")
    asked = parser.parse_args()
    scenario = scenario_of(asked.backbone, asked.batch_size)
    with tempfile.TemporaryDirectory() as folder, Crew(asked.workers) as crew:
        root = Path(folder)
        data = write_digits(root / "mnist", train=60_000, test=100)
        opened = open_data(find_source([data], "mnist"))
        assert isinstance(opened, Digits)
        material = opened.prepare(28, cache=root, on_bad_image="fail")
        one = Hardware.open("cpu", threads=asked.threads)
        shared = Hardware.open("cpu", place=crew.place, team=asked.workers)
        team = crew.enrol()
        told = {"data": [str(data)], "device": "cpu", "on_bad_image": "fail"}
        told |= {"scenario": scenario.row(), "threads": shared.threads, "folder": str(root / "t")}
        team.share([SCENARIO, told])
        many = Ensemble.assemble(team, scenario, lambda: material, lambda: shared, root / "t")
        alone = Ensemble.assemble(
            ALONE, replace(scenario), lambda: material, lambda: one, root / "a"
        )
        seconds: dict[str, list[float]] = {"alone": [], "team": [], "beyond": []}
        processor: dict[str, list[float]] = {"alone": [], "team": []}
        for number in range(1, asked.rounds + 1):
            for name, ensemble, hardware in (("alone", alone, one), ("team", many, shared)):
                hardware.with_threads(hardware.threads)
                began, used = time.perf_counter(), time.process_time()
                result = ensemble.round(number)
                took = time.perf_counter() - began
                if number > 2:  # the first rounds warm up
                    seconds[name].append(took)
                    processor[name].append(time.process_time() - used)
                    if name == "team":
                        seconds["beyond"].append(took - result.seconds)
        crew.dismiss()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [a / t for a, t in zip(seconds["alone"], seconds["team"], strict=True)]
    print(f"{asked.backbone}, B={asked.batch_size}: {asked.rounds - 2} rounds in turns")
    print(f"one process, {one.threads} threads: {1e3 * medians['alone']:.1f} ms a round")
    print(f"{asked.workers} workers, {shared.threads} threads each: {1e3 * medians['team']:.1f} ms")
    print(f"faster by a factor of {statistics.median(ratios):.2f}")
    own, shares = (statistics.median(processor[name]) for name in ("alone", "team"))
    print(f"the leader's processor time: {1e3 * own:.1f} ms, {1e3 * shares:.1f} ms by the team")
    print(f"beyond the slowest member's training: {1e3 * medians['beyond']:.2f} ms a round")


if __name__ == "__main__":
    main()
