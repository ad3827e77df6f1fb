"""Agreement with flwr-datasets where its definitions and ours coincide: one class per image.

Runs where flwr-datasets is installed. Its random draws are given to both sides, or taken out of
the comparison, so that the agreement is exact and not of averages.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench.federation.partitions import describe, images, partition
from bench.federation.partitions.labels import dirichlet
from tests.partition_pools import DIGITS, choice

partitioners = pytest.importorskip("flwr_datasets.partitioner")
datasets = pytest.importorskip("datasets")


def theirs(partitioner, labels):
    """(k, c) images per client and class."""
    partitioner.dataset = datasets.Dataset.from_dict({"label": labels.tolist()})
    return np.array(
        [
            np.bincount(partitioner.load_partition(i)["label"], minlength=labels.max() + 1)
            for i in range(partitioner.num_partitions)
        ]
    )


def ours(rule, labels, clients, seed=0):
    pool = images(labels, DIGITS[: labels.max() + 1])
    return describe(partition(rule, pool, clients=clients, seed=seed), pool).by_key


class Given:
    """A generator whose Dirichlet draws are given; everything else is drawn."""

    def __init__(self, proportions):
        self.proportions = iter(proportions)
        self.other = np.random.default_rng(0)

    def dirichlet(self, alpha):
        assert (alpha == alpha[0]).all()
        return next(self.proportions)

    def __getattr__(self, name):
        return getattr(self.other, name)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5.0])
def test_dirichlet_divides_classes_as_flwr_does(alpha):
    # Shares in 1024ths of classes of 1024 images leave no room for rounding.
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(6), 1024))
    draws = np.random.default_rng(2).dirichlet(np.full(8, alpha), size=6)
    ends = np.round(np.cumsum(draws, axis=1) * 1024) / 1024
    proportions = np.diff(ends, axis=1, prepend=0)
    their_rule = partitioners.DirichletPartitioner(
        num_partitions=8, partition_by="label", alpha=alpha, min_partition_size=0
    )
    their_rule._rng = Given(proportions)
    pool = images(labels, DIGITS[:6])
    draw = dirichlet(pool, 8, Given(proportions), alpha=alpha, balanced=False, min_size=0)
    got = np.bincount(draw.client * 6 + labels, minlength=48).reshape(8, 6)
    np.testing.assert_array_equal(got, theirs(their_rule, labels))


def test_dirichlet_rounds_within_one_image_of_flwr():
    labels = np.repeat(np.arange(5), [997, 1013, 11, 503, 90])
    proportions = np.random.default_rng(3).dirichlet(np.full(7, 0.4), size=5)
    their_rule = partitioners.DirichletPartitioner(
        num_partitions=7, partition_by="label", alpha=0.4, min_partition_size=0
    )
    their_rule._rng = Given(proportions)
    pool = images(labels, DIGITS[:5])
    draw = dirichlet(pool, 7, Given(proportions), alpha=0.4, balanced=False, min_size=0)
    got = np.bincount(draw.client * 5 + labels, minlength=35).reshape(7, 5)
    assert np.abs(got - theirs(their_rule, labels)).max() <= 1


def test_iid_sizes():
    labels = np.arange(103) % 10
    got = ours(choice("iid"), labels, 10).sum(axis=1)
    expected = theirs(partitioners.IidPartitioner(num_partitions=10), labels).sum(axis=1)
    assert sorted(got) == sorted(expected)


def test_shards_are_the_same_pieces_of_the_sorted_line():
    labels = np.random.default_rng(4).permutation(np.repeat(np.arange(10), 60))
    rule = partitioners.ShardPartitioner(
        num_partitions=60, partition_by="label", num_shards_per_partition=1, shard_size=10
    )
    got, expected = ours(choice("shards", per_client=1), labels, 60), theirs(rule, labels)
    assert sorted(map(tuple, got.tolist())) == sorted(map(tuple, expected.tolist()))
    rule = partitioners.ShardPartitioner(
        num_partitions=30, partition_by="label", num_shards_per_partition=2, shard_size=10
    )
    two = ours(choice("shards", per_client=2), labels, 30)
    assert set(two.ravel()) == set(theirs(rule, labels).ravel()) == {0, 10, 20}


def test_pathological_holdings():
    # Their deterministic mode spreads classes evenly too: four holders of eight images each.
    labels = np.random.default_rng(5).permutation(np.repeat(np.arange(5), 32))
    rule = partitioners.PathologicalPartitioner(
        num_partitions=10,
        partition_by="label",
        num_classes_per_partition=2,
        class_assignment_mode="deterministic",
    )
    got = ours(choice("pathological", classes_per_client=2), labels, 10)
    expected = theirs(rule, labels)
    np.testing.assert_array_equal(np.sort(got, axis=0), np.sort(expected, axis=0))
    np.testing.assert_array_equal(np.sort(got, axis=1), np.sort(expected, axis=1))


@pytest.mark.parametrize(("name", "exponent"), [("Linear", -1.0), ("Square", -2.0)])
def test_power_law_sizes(name, exponent):
    labels = np.zeros(1000, dtype=int)
    rule = getattr(partitioners, f"{name}Partitioner")(num_partitions=7)
    got = ours(choice("quantity", law="power", exponent=exponent), labels, 7).sum(axis=1)
    expected = theirs(rule, labels).sum(axis=1)
    # They round every size down and give the last client the remainder.
    assert np.abs(got - expected)[:-1].max() <= 1
    assert abs(int(got[-1]) - int(expected[-1])) <= 7


def test_explicit_sizes():
    labels = np.zeros(60, dtype=int)
    rule = partitioners.SizePartitioner([10, 20, 30])
    got = ours(choice("quantity", law="explicit", sizes=(10, 20, 30)), labels, 3)
    np.testing.assert_array_equal(got, theirs(rule, labels))
