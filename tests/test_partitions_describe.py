"""Counts, divergences and the picture, against hand-worked numbers and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from bench.errors import UsageError
from bench.federation.partitions import describe, images, partition
from bench.federation.partitions.describe import divergence_from_pool, overall_divergence
from bench.report.heatmap import draw_partition
from tests.partition_pools import choice, random_split, split_of

NAN = float("nan")


def two_sites():
    return split_of(
        ["p1", "p1", "p2", "p3"],
        [[1, -1], [1, NAN], [0, 1], [0, -1]],
        ["Edema", "Pneumonia"],
        studies=["p1/study1", "p1/study2", "p2/study1", "p3/study1"],
        site=["x", "x", "x", "y"],
    )


def test_counts_by_hand():
    split = two_sites()
    report = describe(partition(choice("natural", column="site"), split, clients=2, seed=0), split)
    assert report.names == ("x", "y")
    assert report.images.tolist() == [3, 1]
    assert report.studies.tolist() == [3, 1]
    assert report.units.tolist() == [2, 1]
    np.testing.assert_allclose(report.prevalence(), [[2 / 3, 1 / 3], [0, 0]])
    np.testing.assert_allclose(report.pool_prevalence(), [1 / 2, 1 / 4])
    np.testing.assert_allclose(report.uncertain_share(), [[0, 1 / 3], [0, 1]])
    np.testing.assert_allclose(report.pool_uncertain_share(), [0, 1 / 2])
    # Keys by images: x has Edema 2 and Pneumonia 1, y has one with nothing positive.
    assert report.by_key.tolist() == [[2, 1, 0], [0, 0, 1]]


def test_divergence_by_hand():
    # Two clients without a common key: each is one half of the pool.
    counts = np.array([[5, 0], [0, 5]])
    assert overall_divergence(counts) == pytest.approx(1.0)
    # M = (3/4, 1/4): H(M) = 0.811278, less half of H(pool) = 1.
    np.testing.assert_allclose(divergence_from_pool(counts), [0.311278] * 2, atol=1e-6)
    assert overall_divergence(np.array([[2, 4], [3, 6]])) == pytest.approx(0.0, abs=1e-12)


counts_of_clients = st.lists(
    st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any), min_size=1, max_size=6
)


@given(counts_of_clients)
def test_divergence_agrees_with_scipy(rows):
    counts = np.array(rows)
    pool = counts.sum(axis=0)
    expected = [jensenshannon(row, pool, base=2) ** 2 for row in counts]
    np.testing.assert_allclose(divergence_from_pool(counts), np.nan_to_num(expected), atol=1e-9)
    weight = counts.sum(axis=1) / counts.sum()
    general = entropy(pool, base=2) - weight @ entropy(counts, base=2, axis=1)
    assert overall_divergence(counts) == pytest.approx(general, abs=1e-9)


def test_totals_are_the_pools():
    split = random_split(0, patients=50)
    report = describe(partition(choice("iid"), split, clients=4, seed=0), split)
    assert report.images.sum() == len(split)
    assert report.studies.sum() == len(split.studies)
    assert report.units.sum() == 50
    np.testing.assert_array_equal(report.positive.sum(axis=0), (split.labels == 1).sum(axis=0))
    np.testing.assert_array_equal(report.uncertain.sum(axis=0), (split.labels == -1).sum(axis=0))


def test_a_partition_of_some_rows_is_described_without_the_others():
    split = two_sites()
    rows = np.array([0, 2, 3])
    shared = partition(choice("natural", column="site"), split, clients=2, seed=0, rows=rows)
    report = describe(shared, split)
    assert report.images.tolist() == [2, 1]
    assert report.studies.tolist() == [2, 1]


@pytest.mark.parametrize("clients", [1, 5, 40])
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_drawn_at_any_size(tmp_path, clients, ending):
    split = random_split(1, patients=60)
    report = describe(partition(choice("iid"), split, clients=clients, seed=0), split)
    file = tmp_path / f"map.{ending}"
    draw_partition(report, file, title="suite", synthetic=True)
    first = file.read_bytes()
    assert first.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    draw_partition(report, file, title="suite", synthetic=True)
    assert file.read_bytes() == first


def test_the_picture_says_what_it_shows(tmp_path):
    pool = images(np.arange(40) % 4, ["zero", "one", "two", "three"])
    report = describe(partition(choice("shards", per_client=1), pool, clients=4, seed=0), pool)
    file = tmp_path / "map.svg"
    draw_partition(report, file, title="mcmahan", synthetic=True)
    text = file.read_text(encoding="utf-8")
    for words in (
        "mcmahan: shards(per_client=1) (synthetic data)",
        report.fingerprint[:16],
        "three",
    ):
        assert words in text
    assert "uncertain share" not in text


def test_a_picture_needs_an_ending_it_can_have(tmp_path):
    split = two_sites()
    report = describe(partition(choice("iid"), split, clients=2, seed=0), split)
    with pytest.raises(UsageError, match=r"ending in \.png, \.svg, \.pdf"):
        draw_partition(report, tmp_path / "map.gif")
