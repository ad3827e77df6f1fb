"""Runs of several sites, or with label policies by client, beside a published table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.comparison.published import compare_published
from bench.observations import COMPETITION
from bench.suites.catalog import STRATEGIES
from bench.suites.policies import PerClient
from bench.suites.scenario import Scenario
from tests.test_compare import OBSERVED, POOLED, entry, row, subject_of


def mixed(*policies: str) -> Scenario:
    """Cardiomegaly and Edema as given, client by client; the others U-Ones everywhere."""
    entries = [
        tuple((n, p if n in ("Cardiomegaly", "Edema") else "u-ones") for n in COMPETITION)
        for p in policies
    ]
    return replace(
        POOLED,
        label_policy=PerClient(tuple(entries)),
        strategy=STRATEGIES.read("fedavg"),
        clients=len(policies),
    )


def test_conditions_whose_policies_differ_between_clients_fit_no_row() -> None:
    five = {name: entry(0.9, (0.85, 0.95)) for name in COMPETITION}
    scenario = mixed("u-ones", "u-zeros")
    found = compare_published(
        subject_of(five, mean=(0.9, (0.88, 0.92)), scenario=scenario), "paper"
    )
    reason = "the clients' label policies differ, and the table has a row for each"
    for name in ("Cardiomegaly", "Edema", "Average"):
        assert row(found, name).theirs is None
        assert row(found, name).verdict == f"not comparable: {reason}"
    assert row(found, "Atelectasis").theirs == 0.858
    assert "Edema u-ones or u-zeros by client, published one for all" in found.notes[-1]


def test_policies_that_agree_between_clients_have_their_row() -> None:
    """The same for every client, though written client by client."""
    five = {name: entry(0.9, (0.85, 0.95)) for name in COMPETITION}
    found = compare_published(subject_of(five, scenario=mixed("u-zeros", "u-zeros")), "paper")
    assert row(found, "Edema").theirs == 0.929
    assert "rows: Atelectasis u-ones" in " ".join(found.notes)


def test_a_table_without_policies_takes_mixed_ones() -> None:
    five = {name: entry(0.9, (0.85, 0.95)) for name in COMPETITION}
    subject = subject_of(five, scenario=mixed("u-ones", "u-zeros"), split="test", n=500)
    assert row(compare_published(subject, "paper"), "Edema").theirs is not None


@pytest.mark.parametrize(
    ("splits", "same"),
    [({"train": {}, "valid": {}}, False), ({"train": {}}, True)],
    ids=["another site is scored too", "another site is only trained on"],
)
def test_sites_are_the_table_s_data_where_its_alone_are_scored(
    splits: dict[str, Any], same: bool
) -> None:
    sites = {
        "stanford": {"name": "CheXpert-v1.0-small", "splits": {"train": {}, "valid": {}}},
        "nih": {"name": "nih621-320", "splits": splits},
    }
    data = {"name": "chexpert + nih", "digest": "d" * 64, "synthetic": False, "sites": sites}
    found = compare_published(subject_of(OBSERVED, data=data), "paper")
    assert row(found, "Atelectasis").verdict == (
        "within the interval" if same else "not comparable: chexpert + nih is not CheXpert"
    )
    assert "trained on stanford and nih, published on CheXpert" in found.notes[-1]
