"""What is said of the cores: of workers by hand, and all of it together."""

from __future__ import annotations

import pytest
import torch

from bench.runs.advice import Advice
from bench.runs.crew import Place
from bench.runs.hardware import Hardware
from bench.runs.neighbours import Neighbours
from bench.runs.sharing import workers_hint
from bench.suites.catalog import STRATEGIES
from bench.suites.scenario import Scenario


def scenario(strategy: str = "fedavg", **fields) -> Scenario:
    usual = {"image_size": 32, "batch_size": 16, "clients": 5}
    return Scenario(strategy=STRATEGIES.read(strategy), **(usual | fields))


@pytest.mark.parametrize(
    ("chosen", "threads", "workers"),
    [
        (scenario(), 2, 2),
        (scenario(), 16, 5),  # a client each
        (scenario("local"), 3, 3),
        (scenario(clients=10, fraction=0.3), 8, 3),
        (scenario(clients=10, dropout=0.5), 8, 5),  # as many report on average
        (scenario(image_size=128), 2, 2),
        (scenario(), 1, None),
        (scenario("centralized"), 2, None),
        (scenario(clients=10, fraction=0.1), 8, None),  # one client a round
        (scenario(image_size=160), 2, None),
        (scenario(image_size=64, batch_size=128), 2, None),
        (scenario(batch_size=None), 2, None),
        (scenario(backbone="2nn", image_size=28), 2, None),
    ],
)
def test_workers_are_spoken_of_where_threads_gain_little(
    chosen: Scenario, threads: int, workers: int | None
) -> None:
    hint = workers_hint(chosen, threads)
    assert (hint is None) == (workers is None)
    if hint is not None:
        assert f": --workers {workers} would share them out" in hint


@pytest.mark.parametrize(
    ("hardware", "processes", "busy", "said"),
    [
        ({}, 1, None, ["--workers 2"]),
        ({"asked": True}, 1, None, []),
        ({"device": torch.device("cuda", 0)}, 1, "busy", []),
        ({}, 2, "busy", []),
        ({"threads": 999}, 2, None, ["take turns"]),
        ({}, 1, "--threads 1 may be", ["--threads 1 may be"]),
    ],
    ids=["once", "asked for", "GPU", "workers", "few cores", "busy cores are no place for more"],
)
def test_a_run_says_each_thing_once(
    monkeypatch: pytest.MonkeyPatch,
    hardware: dict,
    processes: int,
    busy: str | None,
    said: list[str],
) -> None:
    monkeypatch.setattr(Neighbours, "warning", lambda self, threads: busy)
    monkeypatch.setattr("bench.runs.advice.granted_cores", lambda: 4)
    heard: list[str] = []
    advice = Advice(heard.append)
    usual = {"device": torch.device("cpu"), "threads": 2}
    machine = Hardware(**(usual | hardware))
    advice.of_hardware(machine, Place(processes=processes))
    for _ in "ab":
        advice.of_scenario(scenario(), machine)
    assert len(heard) == len(said)
    assert all(words in line for words, line in zip(said, heard, strict=True))
