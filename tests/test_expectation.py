"""What is said of a round before it happens, against what the engine does in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.federation.engine import Federation
from bench.federation.expectation import Reporting, images_a_round, reporting
from bench.federation.participation import drawn_for, participation
from bench.federation.strategies import TABLE
from bench.suites.scenario import FAMILIES, Choice, Scenario
from bench.verify.federations import Bench

SIZES = (6,) * 5
OWN: dict[str, dict[str, Any]] = {
    "fedsgd": {"local_epochs": 1, "batch_size": None},
    "dpfedavg": {"buffers": "frozen"},
}
"""What a suite would set, or ask for, beside the strategy."""


def late(name: str, share: float) -> Choice:
    return FAMILIES["stragglers"].read({"name": name, "share": share})


def passed(trained: Federation, rounds: int) -> tuple[int, int]:
    """Images that the trainer passed, and those that the rounds report."""
    trainer, counts = trained.trainer, []
    train = trainer.train

    def counting(*arguments: Any, **options: Any) -> Any:
        result = train(*arguments, **options)
        counts.append(result.examples)
        return result

    trainer.train = counting  # type: ignore[method-assign]
    reported = sum(trained.round(number).examples for number in range(1, rounds + 1))
    return sum(counts), reported


@pytest.mark.parametrize("name", TABLE)
def test_every_strategy_passes_what_is_expected(name: str, tmp_path: Path) -> None:
    """A strategy that trains beside its main training must say so in ``expectation``."""
    trained = Bench(torch.device("cpu"), tmp_path).federation(
        name, sizes=SIZES, **OWN.get(name, {})
    )
    counted, _ = passed(trained, rounds=2)
    assert counted == 2 * images_a_round(trained.scenario, sum(SIZES))


@pytest.mark.parametrize(
    ("name", "parameters", "a_client", "reported"),
    [
        ("fedavg", {}, 12, 12),  # two epochs over six images
        ("ditto", {}, 12 + 12, 24),
        ("fedrep", {"head_epochs": 3}, 12 + 18, 30),
        ("qfedavg", {}, 12 + 6, 12),
        ("scaffold", {"option": 1}, 12 + 6, 12),
        ("scaffold", {"option": 2}, 12, 12),
    ],
)
def test_what_is_passed_beside_the_training_counts(
    name: str, parameters: dict[str, Any], a_client: int, reported: int, tmp_path: Path
) -> None:
    """A round reports trainings only; a pass that measures is passed all the same."""
    trained = Bench(torch.device("cpu"), tmp_path).federation(
        name, sizes=SIZES, parameters=parameters
    )
    assert images_a_round(trained.scenario, 30) == 5 * a_client
    assert passed(trained, rounds=1) == (5 * a_client, 5 * reported)


@pytest.mark.parametrize(
    ("fields", "a_client"),
    [
        ({"batch_size": 4, "local_steps": 1}, 4),
        ({"batch_size": 4, "local_steps": 3}, 6 + 4),
        ({"batch_size": 5, "local_steps": 3}, 3 * 6),  # the sixth image joins the batch of five
        ({"batch_size": None, "local_steps": 2}, 2 * 6),
        ({"batch_size": 99, "local_steps": 2}, 2 * 6),
    ],
)
def test_steps_pass_whole_batches(fields: dict[str, Any], a_client: int, tmp_path: Path) -> None:
    for name, times in (("fedavg", 1), ("ditto", 2)):
        trained = Bench(torch.device("cpu"), tmp_path).federation(name, sizes=SIZES, **fields)
        assert images_a_round(trained.scenario, 30) == 5 * times * a_client
        assert passed(trained, rounds=1)[0] == 5 * times * a_client


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Reporting(fewest=10, mean=10, most=10)),
        ({"fraction": 0.25}, Reporting(fewest=3, mean=3, most=3)),
        ({"fraction": 0.25, "sampling": "size"}, Reporting(fewest=3, mean=3, most=3)),
        ({"fraction": 0.25, "sampling": "poisson"}, Reporting(fewest=0, mean=2.5, most=10)),
        ({"sampling": "poisson"}, Reporting(fewest=10, mean=10, most=10)),
        ({"fraction": 0.5, "dropout": 0.2}, Reporting(fewest=0, mean=4, most=5)),
        ({"stragglers": late("partial", 0.25)}, Reporting(fewest=10, mean=10, most=10)),
        # A quarter of ten is 2.5, which is three of them; of those drawn by chance it stays 2.5.
        ({"stragglers": late("dropped", 0.25)}, Reporting(fewest=7, mean=7, most=7)),
        (
            {"stragglers": late("dropped", 0.25), "dropout": 0.5},
            Reporting(fewest=0, mean=3.5, most=7),
        ),
        (
            {"stragglers": late("dropped", 0.5), "sampling": "poisson", "fraction": 0.4},
            Reporting(fewest=0, mean=2, most=5),
        ),
    ],
    ids=str,
)
def test_who_reports(fields: dict[str, Any], expected: Reporting) -> None:
    scenario = Scenario(clients=10, **fields)
    found = reporting(scenario)
    assert (found.fewest, found.most) == (expected.fewest, expected.most)
    assert found.mean == pytest.approx(expected.mean)
    sizes = [20] * 10
    counts = [
        len(participation(scenario, sizes, r, drawn_for(scenario, sizes, r)).clients)
        for r in range(400)
    ]
    assert found.fewest <= min(counts)
    assert max(counts) <= found.most
    assert np.mean(counts) == pytest.approx(found.mean, abs=0.3), "of a varying number, half is up"


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        # Five of ten make 1 … 3 of 4 epochs over 20 images, two on average.
        ({"local_epochs": 4}, 5 * 80 + 5 * 40),
        # 20 images are batches of 8, 8 and 4: one or two of the three steps pass 8 or 16.
        ({"batch_size": 8}, 5 * 20 + 5 * 12),
        # One to four of the steps that pass 8, 8, 4, 8, 8: 8, 16, 20, 28.
        ({"batch_size": 8, "local_steps": 5}, 5 * 36 + 5 * 18),
        # A client that has one step to make makes it.
        ({"batch_size": None}, 10 * 20),
    ],
    ids=str,
)
def test_stragglers_pass_a_part(fields: dict[str, Any], images: int) -> None:
    scenario = Scenario(clients=10, stragglers=late("partial", 0.5), **fields)
    assert images_a_round(scenario, 200) == images


def test_clients_that_cannot_be_equal_differ_by_one_image() -> None:
    """Seven images of three clients are 2, 2 and 3: batches of two are one, one, and one of 3."""
    scenario = Scenario(clients=3, batch_size=2, local_steps=1)
    assert images_a_round(scenario, 7) == 2 + 2 + 3
    assert images_a_round(Scenario(clients=3), 7) == 7
