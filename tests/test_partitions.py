"""What holds for every rule: nothing is lost, nobody is shared, and seeds decide."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import SuiteError
from bench.federation.partitions import RULES, fingerprint, images, partition, patients
from tests.partition_pools import choice, owners, random_split

CHOICES = (
    choice("iid"),
    choice("shards", per_client=2),
    choice("pathological", classes_per_client=3),
    choice("dirichlet", alpha=0.3, balanced=False, min_size=2),
    choice("dirichlet", alpha=0.3, balanced=True, min_size=2),
    choice("prevalence", sigma=1.0),
    choice("quantity", law="power", exponent=1.2),
    choice("quantity", law="lognormal", sigma=1.0),
    choice("quantity", law="dirichlet", alpha=0.5),
    choice("quantity", law="explicit", sizes=(0.5, 0.2, 0.1, 0.1, 0.1)),
    choice("attribute", by="Sex", strictness=0.7),
    choice("attribute", by="Age", strictness=1.0),
    choice("attribute", by="AP/PA", strictness=1.0),
    choice("attribute", by="Frontal/Lateral", strictness=0.5),
    choice("attribute", by="site", strictness=1.0),
    choice("uncertainty", alpha=0.3),
)
every_rule = pytest.mark.parametrize("rule", CHOICES, ids=str)


def test_every_rule_is_tried_here():
    assert {c.name for c in CHOICES} | {"natural"} == set(RULES)


@every_rule
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_image_once_and_no_patient_twice(rule, seed):
    """Of 40 patients one seed in 400 gives too few with different keys for three keys a client."""
    split = random_split(seed, patients=80)
    shared = partition(rule, split, clients=5, seed=seed)
    assert np.sort(np.concatenate(shared.clients)).tolist() == list(range(len(split)))
    assert len(owners(split, shared)) == len(split.patients)
    assert min(shared.sizes) >= 1
    assert len(shared.clients) == len(shared.names) == 5


@every_rule
def test_only_the_rows_asked_for(rule):
    split = random_split(1, patients=40)
    rows = np.flatnonzero(np.arange(len(split)) % 7)
    shared = partition(rule, split, clients=5, seed=0, rows=rows)
    assert np.sort(np.concatenate(shared.clients)).tolist() == rows.tolist()


@every_rule
def test_equal_seeds_are_equal_and_others_differ(rule):
    split = random_split(2, patients=60)
    prints = [partition(rule, split, clients=5, seed=s).fingerprint for s in (0, 0, 1, 2)]
    assert prints[0] == prints[1]
    if rule.name == "attribute" and rule["strictness"] == 1.0 and rule["by"] == "Age":
        return  # nothing but ties of age is drawn
    assert len(set(prints)) == 3


@every_rule
def test_patients_are_placed_alike_whatever_the_order_of_rows(rule):
    split = random_split(4, patients=40)
    shuffled = split.take(np.random.default_rng(1).permutation(len(split)))
    one = owners(split, partition(rule, split, clients=5, seed=3))
    other = owners(shuffled, partition(rule, shuffled, clients=5, seed=3))
    assert one == other


def test_fingerprint_is_what_its_docstring_says():
    clients = (np.array([4, 0]), np.array([2]))
    data = b"".join(n.to_bytes(8, "little") for n in (2, 0, 4, 1, 2))
    assert fingerprint(clients) == hashlib.sha256(data).hexdigest()
    assert fingerprint((np.array([0, 4]), np.array([2]))) == fingerprint(clients)
    assert fingerprint((np.array([2]), np.array([0, 4]))) != fingerprint(clients)
    assert fingerprint((np.array([0]), np.array([4, 2]))) != fingerprint(clients)


def test_a_known_partition():
    """Changes only if the same suite would train on other clients: then SEMANTICS must rise."""
    pool = images(np.arange(12) % 3, ["a", "b", "c"])
    shared = partition(choice("iid"), pool, clients=3, seed=0)
    assert [c.tolist() for c in shared.clients] == [[2, 3, 7, 9], [1, 4, 6, 8], [0, 5, 10, 11]]


@every_rule
@pytest.mark.parametrize("clients", [0, -1, 41])
def test_more_clients_than_patients_or_none(rule, clients):
    split = random_split(10, patients=40)
    with pytest.raises(SuiteError, match="from 1 to 40 clients, one patient each"):
        partition(rule, split, clients=clients, seed=0)


@pytest.mark.parametrize(
    "rule",
    [c for c in CHOICES if c.name in {"iid", "prevalence", "uncertainty", "attribute"}],
    ids=str,
)
def test_as_many_clients_as_patients(rule):
    split = random_split(11, patients=30)
    shared = partition(rule, split, clients=30, seed=0)
    assert sorted(owners(split, shared).values()) == list(range(30))


def test_nothing_cannot_be_divided():
    none = np.array([], dtype=np.int64)
    with pytest.raises(SuiteError, match="there are no patients to divide"):
        partition(choice("iid"), random_split(1, patients=5), clients=1, seed=0, rows=none)
    with pytest.raises(SuiteError, match="there are no images to divide"):
        partition(choice("iid"), images(none, ["a"]), clients=1, seed=0)


def test_units_can_be_made_beforehand():
    split = random_split(12, patients=30)
    rule = choice("shards", per_client=2)
    direct = partition(rule, split, clients=4, seed=0)
    assert partition(rule, patients(split), clients=4, seed=0).fingerprint == direct.fingerprint
