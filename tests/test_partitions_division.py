"""Cutting, sharing out and filling up, with numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import SuiteError
from bench.federation.partitions import patients
from bench.federation.partitions.division import apportion, divide, fill
from bench.federation.partitions.units import images
from tests.partition_pools import random_split


def test_whole_targets_of_single_images_are_cut_exactly():
    ones = np.ones(6, dtype=np.int64)
    assert divide(ones, np.array([1, 2, 3]), filled=False).tolist() == [0, 1, 1, 2, 2, 2]
    assert divide(ones, np.ones(3), filled=False).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_unit_goes_where_its_middle_lies():
    # Twelve images, cuts at 4 and 8; units cover 0–3, 3–8, 8–9, 9–12 with middles 1.5, 5.5, 8.5 …
    assert divide(np.array([3, 5, 1, 3]), np.ones(3), filled=False).tolist() == [0, 1, 2, 2]
    # A cut at 6; the second unit covers 2–8, its middle is 5.
    assert divide(np.array([2, 6, 4]), np.ones(2), filled=False).tolist() == [0, 0, 1]


def test_filled_gives_every_part_a_unit():
    heavy = np.array([100, 1, 1])
    assert divide(heavy, np.ones(3), filled=False).tolist() == [1, 2, 2]
    assert divide(heavy, np.ones(3), filled=True).tolist() == [0, 1, 2]
    assert divide(heavy[::-1], np.array([1e-9, 1e-9, 1]), filled=True).tolist() == [0, 1, 2]


def test_nothing_divided_is_nothing():
    assert divide(np.empty(0, dtype=np.int64), np.ones(3), filled=False).tolist() == []


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.lists(st.floats(0, 10), min_size=1, max_size=12).filter(lambda t: sum(t) > 1e-3),
)
def test_cuts_are_within_half_a_unit(weights, targets):
    weight, target = np.array(weights), np.array(targets)
    part = divide(weight, target, filled=False)
    assert (np.diff(part) >= 0).all()
    got = np.cumsum(np.bincount(part, weights=weight, minlength=len(target)))
    wanted = np.cumsum(target) / target.sum() * weight.sum()
    assert np.abs(got - wanted).max() <= weight.max() / 2 + 1e-6


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.data())
def test_filled_parts_are_never_empty(weights, data):
    parts = data.draw(st.integers(1, len(weights)))
    targets = np.array(data.draw(st.lists(st.floats(0, 10), min_size=parts, max_size=parts)))
    part = divide(np.array(weights), targets + 1e-9, filled=True)
    assert np.unique(part).tolist() == list(range(parts))
    assert (np.diff(part) >= 0).all()


def test_apportion_gives_the_largest_remainders_first():
    # 10 × (0.47, 0.16, 0.158, 0.12, 0.061, 0.031): the textbook example of Hamilton's method.
    share = np.array([47_000, 16_000, 15_800, 12_000, 6_100, 3_100])
    assert apportion(10, share).tolist() == [5, 2, 1, 1, 1, 0]
    assert apportion(4, np.ones(3)).tolist() == [2, 1, 1]
    assert apportion(0, np.ones(3)).tolist() == [0, 0, 0]
    assert apportion(3, np.array([1e-320, 1e-320, 0])).tolist() == [2, 1, 0]


def test_fill_takes_the_commonest_key_of_the_largest_client():
    # Client 0 has five images of class 0 and two of class 1; client 1 has two; client 2 none.
    units = images(np.array([0, 0, 0, 0, 0, 1, 1, 2, 2]), ["a", "b", "c"])
    client = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1])
    filled, moved = fill(client, units, clients=3, least=2, random=np.random.default_rng(0))
    assert moved == 2
    assert np.bincount(filled).tolist() == [5, 2, 2]
    assert units.key[filled == 2].tolist() == [0, 0]
    assert client.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_fill_leaves_alone_what_is_large_enough():
    units = images(np.array([0, 0, 1, 1]), ["a", "b"])
    client = np.array([0, 1, 0, 1])
    filled, moved = fill(client, units, clients=2, least=2, random=np.random.default_rng(0))
    assert moved == 0
    assert filled is client


def test_fill_says_what_would_be_possible():
    units = images(np.zeros(9, dtype=np.int64), ["a"])
    client = np.zeros(9, dtype=np.int64)
    with pytest.raises(SuiteError, match=r"9 images over 2 clients are 4 each") as caught:
        fill(client, units, clients=2, least=5, random=np.random.default_rng(0))
    assert "min_size of at most 3" in str(caught.value)
    filled, _ = fill(client, units, clients=2, least=4, random=np.random.default_rng(0))
    assert np.bincount(filled).tolist() == [5, 4]


@given(st.integers(0, 1000), st.integers(1, 12))
def test_what_the_message_calls_possible_is_possible(seed, clients):
    units = patients(random_split(seed, patients=12))
    random = np.random.default_rng(seed)
    client = random.integers(0, clients, len(units)) // 2
    least = max(units.images // clients - int(units.weight.max()), 1)
    filled, _ = fill(client, units, clients=clients, least=least, random=random)
    sizes = np.bincount(filled, weights=units.weight, minlength=clients)
    assert (sizes >= least).all()
