"""Where workers are spoken of: by hand, and in a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bench.runs.crew import Crew
from bench.runs.executor import Options, Outcome, _Suite
from bench.runs.hardware import Hardware
from bench.runs.sharing import SMALL_STEP, workers_hint
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


def test_the_limit_is_that_of_the_measurement() -> None:
    assert SMALL_STEP == 16 * 128**2


@pytest.mark.parametrize(
    ("hardware", "crew", "times"),
    [
        ({}, Crew(), 1),
        ({"asked": True}, Crew(), 0),
        ({"device": torch.device("cuda", 0)}, Crew(), 0),
        ({}, Crew(workers=2), 0),
    ],
    ids=["once", "threads were asked for", "GPU", "workers were asked for"],
)
def test_a_run_says_it_once(hardware: dict, crew: Crew, times: int) -> None:
    said: list[str] = []
    report = SimpleNamespace(note=said.append)
    suite = _Suite(Options(suite="any"), {}, report, Outcome(suite="any"), crew)  # type: ignore[arg-type]
    usual = {"device": torch.device("cpu"), "threads": 2}
    for _ in "ab":
        suite._note_workers(scenario(), Hardware(**(usual | hardware)))
    assert len(said) == times
