"""The tables of a partition, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

from bench.federation.partitions import describe, images, partition
from bench.report.partition_table import client_table, partition_tables
from tests.partition_pools import choice, random_split, split_of

NAN = float("nan")


def two_sites():
    split = split_of(
        ["p1", "p1", "p2", "p3"],
        [[1, -1], [1, NAN], [0, 1], [0, -1]],
        ["Edema", "Pneumonia"],
        studies=["p1/study1", "p1/study2", "p2/study1", "p3/study1"],
        site=["x", "x", "x", "y"],
    )
    return describe(partition(choice("natural", column="site"), split, clients=2, seed=0), split)


def test_sizes_prevalences_and_uncertain_shares():
    report = two_sites()
    sizes, prevalence, uncertain = partition_tables(report, title="tree", synthetic=True)
    assert sizes.title == "tree"
    assert sizes.cells() == [
        # Keys: x (2/3, 1/3, 0), y (0, 0, 1), all (1/2, 1/4, 1/4). For x, H of the half-way mix
        # (7/12, 7/24, 1/8) is 1.3471, less the mean of H(x) = 0.9183 and H(all) = 1.5.
        ["x", "3", "3", "2", "0.1379", "16.7"],
        ["y", "1", "1", "1", "0.5488", "50.0"],
        ["all", "4", "4", "3", "–", "25.0"],
    ]
    assert sizes.rule_before == (2,)
    assert sizes.notes[0] == report.description
    assert report.fingerprint in sizes.notes[1]
    assert prevalence.cells() == [
        ["Edema", "50.0", "66.7", "0.0"],
        ["Pneumonia", "25.0", "33.3", "0.0"],
    ]
    assert uncertain.cells() == [
        ["Edema", "0.0", "0.0", "0.0"],
        ["Pneumonia", "50.0", "33.3", "100.0"],
    ]
    assert all(table.synthetic for table in (sizes, prevalence, uncertain))


def test_without_uncertain_labels_or_patients_there_is_less_to_show():
    pool = images(np.arange(30) % 3, ["a", "b", "c"])
    report = describe(partition(choice("iid"), pool, clients=3, seed=0), pool)
    tables = partition_tables(report, title="mnist")
    assert len(tables) == 2
    assert [c.key for c in tables[0].columns] == ["client", "images", "divergence", "uncertain"]


def test_many_clients_are_summed_up():
    pool = images(np.zeros(903, dtype=int), ["a"])
    rule = choice("quantity", law="power", exponent=-1.0)
    report = describe(partition(rule, pool, clients=42, seed=0), pool)  # 1, 2, … 42 images
    sizes, prevalence = partition_tables(report, title="mnist")
    assert [row[:2] for row in sizes.cells()] == [
        ["lowest", "1"],
        ["median", "22"],
        ["highest", "42"],
        ["all", "903"],
    ]
    assert [c.title for c in prevalence.columns] == [
        "Condition",
        "All",
        "lowest",
        "median",
        "highest",
    ]


def test_every_client_is_in_the_table_for_programs():
    split = random_split(0, patients=60)
    reports = [describe(partition(choice("iid"), split, clients=k, seed=0), split) for k in (30, 2)]
    table = client_table([({"partition": f"of {len(r.names)}"}, r) for r in reports])
    assert len(table.rows) == 32
    first = table.rows[0]
    assert first["partition"] == "of 30"
    assert first["fingerprint"] == reports[0].fingerprint
    assert first["images"] == reports[0].images[0]
    assert first["prevalence Edema"] == pytest.approx(reports[0].prevalence()[0, 5], abs=1e-6)
    assert {c.key for c in table.columns} == set(first)
