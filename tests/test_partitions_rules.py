"""Rule by rule: sizes and mixes worked out by hand or by law, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import SuiteError
from bench.federation.partitions import describe, images, partition
from tests.partition_pools import DIGITS, choice, mnist_labels, owners, random_split, split_of

# iid and quantity


def test_iid_mnist_is_600_each():
    pool = images(mnist_labels(), DIGITS)
    shared = partition(choice("iid"), pool, clients=100, seed=0)
    assert shared.sizes == [600] * 100
    assert describe(shared, pool).overall < 0.02


def test_iid_patients_are_equal_within_the_largest():
    split = random_split(5, patients=200, most_images=9)
    sizes = partition(choice("iid"), split, clients=7, seed=0).sizes
    assert max(abs(size - len(split) / 7) for size in sizes) <= 9


def test_power_law_sizes():
    pool = images(np.zeros(1100, dtype=int), ["a"])
    sizes = partition(choice("quantity", law="power", exponent=1.0), pool, clients=3, seed=0).sizes
    assert sizes == [600, 300, 200]  # 1 : 1/2 : 1/3


def test_lognormal_sizes_have_that_sigma():
    pool = images(np.zeros(2_000_000, dtype=int), ["a"])
    rule = choice("quantity", law="lognormal", sigma=0.8)
    sizes = partition(rule, pool, clients=2000, seed=0).sizes
    assert np.std(np.log(sizes)) == pytest.approx(0.8, rel=0.05)


def test_explicit_sizes_count_patients_or_share_images():
    split = split_of(list("aabbcd"), [[0]] * 6, ["Edema"])
    by_patient = choice("quantity", law="explicit", sizes=(3, 1))
    assert sorted(
        np.bincount(list(owners(split, partition(by_patient, split, clients=2, seed=0)).values()))
    ) == [1, 3]
    pool = images(np.zeros(10, dtype=int), ["a"])
    by_share = choice("quantity", law="explicit", sizes=(0.7, 0.3))
    assert partition(by_share, pool, clients=2, seed=0).sizes == [7, 3]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((3, 2), r"sum 5\n.*: lower sizes by 1 in all"),
        ((1, 2), "raise sizes by 1 in all"),
        ((2.5, 1.5), "give whole numbers of patients"),
        ((4, 2), "6 is the number of images; sizes count patients"),
        ((0.5, 0.4), r"sum 0\.9\n.*: raise sizes by 0\.1 in all"),
        ((1, 1, 2), "3 sizes: 1, 1, 2"),
        ((5, -1), "positive sizes that sum to 4 patients"),
        (None, "0 sizes"),
    ],
)
def test_explicit_sizes_that_do_not_fit(sizes, words):
    split = split_of(list("aabbcd"), [[0]] * 6, ["Edema"])
    rule = choice("quantity", law="explicit", sizes=sizes)
    with pytest.raises(SuiteError, match=words):
        partition(rule, split, clients=2, seed=0)


# shards and pathological


def test_mcmahan_shards():
    labels = mnist_labels()
    pool = images(labels, DIGITS)
    shared = partition(choice("shards", per_client=2), pool, clients=100, seed=0)
    assert shared.sizes == [600] * 100
    ranks = np.empty(60_000, dtype=int)
    ranks[np.argsort(labels, kind="stable")] = np.arange(60_000)
    for rows in shared.clients:
        # Two shards of 300 out of the sorted line hold at most four digits, mostly two.
        assert len(np.unique(labels[rows])) <= 4
    digits = [len(np.unique(labels[rows])) for rows in shared.clients]
    assert np.mean(np.array(digits) <= 2) > 0.75


def test_shards_cut_the_sorted_line():
    # Twelve images of three classes and six shards: every shard is pure, every client holds two.
    pool = images(np.arange(12) % 3, ["a", "b", "c"])
    shared = partition(choice("shards", per_client=2), pool, clients=3, seed=1)
    counts = describe(shared, pool).by_key
    assert counts.sum(axis=1).tolist() == [4, 4, 4]
    assert counts.sum(axis=0).tolist() == [4, 4, 4]
    assert (counts % 2 == 0).all()


def test_too_many_shards():
    pool = images(np.zeros(10, dtype=int), ["a"])
    with pytest.raises(SuiteError, match=r"per_client of at most 3 with 3 clients"):
        partition(choice("shards", per_client=4), pool, clients=3, seed=0)
    with pytest.raises(SuiteError) as caught:
        partition(choice("shards", per_client=11), pool, clients=3, seed=0)
    assert caught.value.expected == "per_client of at most 3 with 3 clients"  # no client has 11


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 12))
def test_pathological_clients_hold_exactly_so_many_classes(seed, per_client, clients):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(5), 20))
    pool = images(labels, list("abcde"))
    rule = choice("pathological", classes_per_client=per_client)
    if clients * per_client < 5:
        with pytest.raises(SuiteError, match="would have no holder"):
            partition(rule, pool, clients=clients, seed=seed)
        return
    counts = describe(partition(rule, pool, clients=clients, seed=seed), pool).by_key
    assert ((counts > 0).sum(axis=1) == per_client).all()
    holders = (counts > 0).sum(axis=0)
    assert holders.max() - holders.min() <= 1
    for column, number in zip(counts.T, holders, strict=True):
        held = column[column > 0]
        assert held.max() - held.min() <= 1
        assert held.sum() // number == 20 // number


def test_a_class_of_few_images_has_no_more_holders():
    pool = images(np.array([0] * 50 + [1] * 2 + [2] * 50), ["a", "b", "c"])
    rule = choice("pathological", classes_per_client=2)
    counts = describe(partition(rule, pool, clients=5, seed=0), pool).by_key
    # Ten holdings over three classes, of which b can have two: four and four are left.
    assert (counts > 0).sum(axis=0).tolist() == [4, 2, 4]


@pytest.mark.parametrize(
    ("labels", "per_client", "clients", "words"),
    [
        ([0, 0, 1, 1], 3, 2, "classes_per_client of at most 2"),
        (
            [0, 0, 1, 1, 2, 2],
            1,
            2,
            "at least 2 with 2 clients, or at least 3",
        ),
        ([0, 0, 0, 0, 1], 2, 3, "at most 2 clients, or classes_per_client of at most 1"),
    ],
)
def test_impossible_pathological(labels, per_client, clients, words):
    pool = images(np.array(labels), ["a", "b", "c"])
    with pytest.raises(SuiteError, match=words):
        partition(
            choice("pathological", classes_per_client=per_client), pool, clients=clients, seed=0
        )


# dirichlet


@pytest.mark.parametrize("balanced", [False, True])
def test_dirichlet_goes_from_whole_classes_to_iid(balanced):
    pool = images(np.repeat(np.arange(10), 1000), DIGITS)
    divergence = []
    for alpha in (1e-9, 0.1, 1.0, 10.0, 1e6):
        rule = choice("dirichlet", alpha=alpha, balanced=balanced, min_size=1)
        report = describe(partition(rule, pool, clients=10, seed=0), pool)
        divergence.append(report.overall)
        if alpha == 1e-9 and balanced:
            # Every client is as large as a class and has but one.
            assert np.sort(report.by_key.max(axis=1)).tolist() == [1000] * 10
        if alpha == 1e-9 and not balanced:
            # Every class has one holder, but for the images that fill empty clients up.
            assert (report.by_key.max(axis=0) >= 990).all()
    assert divergence == sorted(divergence, reverse=True)
    assert divergence[-1] < 1e-4


def test_balanced_dirichlet_has_equal_sizes():
    pool = images(np.repeat(np.arange(10), [10, 20, 30, 40, 50, 60, 70, 80, 90, 553]), DIGITS)
    rule = choice("dirichlet", alpha=0.2, balanced=True, min_size=1)
    for seed in range(20):
        assert set(partition(rule, pool, clients=20, seed=seed).sizes) == {50, 51}


def test_unbalanced_dirichlet_follows_the_beta_law():
    """A client's share of a class has mean 1/K and variance (K-1) / (K²(Kα+1))."""
    pool = images(np.repeat(np.arange(10), 1000), DIGITS)
    rule = choice("dirichlet", alpha=0.5, balanced=False, min_size=1)
    shares = np.concatenate(
        [
            describe(partition(rule, pool, clients=4, seed=s), pool).by_key.ravel() / 1000
            for s in range(150)
        ]
    )
    assert shares.mean() == pytest.approx(1 / 4)
    assert shares.var() == pytest.approx(3 / (16 * 3), rel=0.06)


def test_balanced_dirichlet_follows_the_beta_law_of_hsu():
    """The first client served draws q ~ Dir(α·p): the variance is p(1-p)/(α+1)."""
    pool = images(np.repeat(np.arange(4), [4000, 3000, 2000, 1000]), list("abcd"))
    p = np.array([0.4, 0.3, 0.2, 0.1])
    rule = choice("dirichlet", alpha=5.0, balanced=True, min_size=1)
    mixes = np.concatenate(
        [
            describe(partition(rule, pool, clients=100, seed=s), pool).by_key[:40] / 100
            for s in range(20)
        ]
    )
    np.testing.assert_allclose(mixes.mean(axis=0), p, atol=0.03)
    np.testing.assert_allclose(mixes.var(axis=0), p * (1 - p) / 6, rtol=0.25)


def test_min_size_is_reached_at_any_alpha_and_says_so():
    pool = images(np.repeat(np.arange(2), 50), ["a", "b"])
    rule = choice("dirichlet", alpha=1e-6, balanced=False, min_size=9)
    shared = partition(rule, pool, clients=10, seed=0)
    assert sum(shared.sizes) == 100
    assert min(shared.sizes) == 9
    assert "images moved so that every client has at least 9 images" in shared.description
    rule = choice("dirichlet", alpha=1e-6, balanced=False, min_size=11)
    with pytest.raises(SuiteError, match="10 clients are 10 each"):
        partition(rule, pool, clients=10, seed=0)


def test_the_description_says_balanced_or_not_and_the_key():
    split = random_split(6, patients=40)
    for balanced, word in ((True, "balanced sizes"), (False, "unbalanced sizes")):
        rule = choice("dirichlet", alpha=0.3, balanced=balanced, min_size=1)
        text = partition(rule, split, clients=3, seed=0).description
        assert f": {word};" in text
        assert "a patient's key is its rarest positive observation" in text


# prevalence and uncertainty


def test_prevalence_tilts_every_condition_and_nothing_at_zero():
    split = random_split(7, patients=4000)
    spread = []
    for sigma in (0.0, 0.5, 1.5):
        shared = partition(choice("prevalence", sigma=sigma), split, clients=8, seed=0)
        report = describe(shared, split)
        spread.append(np.log(report.prevalence() / report.pool_prevalence()).std(axis=0))
        np.testing.assert_allclose(report.images, len(split) / 8, rtol=0.2)
    assert (spread[0] < 0.12).all()
    assert (spread[1] > spread[0]).all()
    assert (spread[2] > spread[1]).all()


def test_prevalence_shifts_log_odds_by_sigma():
    """With one rare condition a client's log odds are the pool's plus its tilt."""
    labels = np.zeros(400_000, dtype=int)
    labels[:40_000] = 1
    pool = images(labels, ["rest", "rare"])
    shared = partition(choice("prevalence", sigma=0.5), pool, clients=200, seed=0)
    rate = describe(shared, pool).prevalence()[:, 1]
    # The two tilts, of "rest" and of "rare", are independent: their difference has σ·√2.
    assert np.log(rate / (1 - rate)).std() == pytest.approx(0.5 * 2**0.5, rel=0.1)


def test_a_prevalence_tilted_beyond_balance_says_how_unequal_its_sizes_are():
    pool = images(np.random.default_rng(1).integers(0, 10, 600), DIGITS)
    shared = partition(choice("prevalence", sigma=1000.0), pool, clients=5, seed=0)
    said = re.search(r"expected sizes up to (.*)% from equal", shared.description)
    # Drawn evenly within each of ten classes: a client has as many as expected, but for a few.
    farthest = max(abs(size / 120 - 1) for size in shared.sizes)
    assert farthest > 0.3
    assert float(said[1]) / 100 == pytest.approx(farthest, abs=5 / 120)
    usual = partition(choice("prevalence", sigma=1.0), pool, clients=5, seed=0)
    assert ": sizes balanced in expectation; " in usual.description


@pytest.mark.parametrize(
    "rule",
    [
        choice("quantity", law="power", exponent=-1000.0),
        choice("quantity", law="lognormal", sigma=1000.0),
        choice("quantity", law="dirichlet", alpha=1e308),
        choice("quantity", law="explicit", sizes=(1e308,) * 5),
        choice("dirichlet", alpha=1e308, balanced=False, min_size=0),
        choice("dirichlet", alpha=1e308, balanced=True, min_size=0),
        choice("dirichlet", alpha=5e-324, balanced=True, min_size=0),
        choice("prevalence", sigma=1e308),
    ],
    ids=str,
)
def test_parameters_beyond_the_range_of_floats_are_refused_and_not_computed_with(rule):
    pool = images(np.repeat(np.arange(10), 60), DIGITS)
    with pytest.raises(SuiteError) as caught:
        partition(rule, pool, clients=5, seed=0)
    assert caught.value.what == f"the partition '{rule.name}' is too extreme to be computed"
    assert caught.value.found == str(rule)


def test_uncertainty_skews_the_share_at_equal_sizes():
    split = random_split(8, patients=1500)
    spread = []
    for alpha in (1e-3, 1.0, 30.0, 1e6):
        rule = choice("uncertainty", alpha=alpha)
        by_seed = []
        for seed in range(10):
            report = describe(partition(rule, split, clients=6, seed=seed), split)
            share = report.uncertain.sum(axis=1) / (report.images * len(report.labels))
            by_seed.append(share.std())
            np.testing.assert_allclose(report.images, len(split) / 6, rtol=0.03)
        spread.append(np.mean(by_seed))
    assert spread[0] > 1.2 * spread[1] > 2 * spread[2] > 4 * spread[3]
    assert spread[3] < 0.004  # the pool's share is 0.1


def test_uncertainty_needs_uncertain_labels():
    pool = images(np.arange(10), DIGITS)
    with pytest.raises(SuiteError, match="no uncertain label"):
        partition(choice("uncertainty", alpha=0.3), pool, clients=2, seed=0)


# attribute and natural


def test_strict_groups_by_hand():
    sexes = ["Male", "Female", "Male", "Male", "Female", "Male"]
    split = split_of(list("abcdef"), [[0]] * 6, ["Edema"], sex=sexes)
    by_sex = choice("attribute", by="Sex", strictness=1.0)
    owner = owners(split, partition(by_sex, split, clients=2, seed=0))
    assert owner == {"a": 1, "b": 0, "c": 1, "d": 1, "e": 0, "f": 1}
    # Three clients: two thirds of the patients are men, so two clients are theirs.
    shared = partition(by_sex, split, clients=3, seed=0)
    owner = owners(split, shared)
    assert {owner["b"], owner["e"]} == {0}
    assert sorted(owner[p] for p in "acdf") == [1, 1, 2, 2]
    assert "Female 0, Male 1–2" in shared.description


def test_strict_order_by_hand():
    split = split_of(list("abcdef"), [[0]] * 6, ["Edema"], age=[70, 20, 50, 30, 60, 40])
    owner = owners(
        split, partition(choice("attribute", by="Age", strictness=1.0), split, clients=3, seed=0)
    )
    assert owner == {"b": 0, "d": 0, "f": 1, "c": 1, "e": 2, "a": 2}


def test_strictness_is_monotone():
    split = random_split(9, patients=3000)
    men = split.sex == "Male"
    spread = []
    for strictness in (0.0, 0.25, 0.5, 0.75, 1.0):
        rule = choice("attribute", by="Sex", strictness=strictness)
        shared = partition(rule, split, clients=4, seed=0)
        spread.append(np.std([men[rows].mean() for rows in shared.clients]))
    assert spread == sorted(spread)
    assert spread[0] < 0.05
    assert spread[-1] == pytest.approx(0.5)


def test_blank_and_negligible_values_are_dealt_out_evenly():
    sexes = ["Male"] * 120 + ["Female"] * 120 + [""] * 40 + ["Unknown"]
    split = split_of([f"p{i:03d}" for i in range(281)], [[0]] * 281, ["Edema"], sex=sexes)
    shared = partition(choice("attribute", by="Sex", strictness=1.0), split, clients=4, seed=0)
    blank = [int((split.sex[rows] == "").sum()) for rows in shared.clients]
    assert min(blank) >= 9
    assert "41 patients of no or a rare value dealt out evenly" in shared.description


@pytest.mark.parametrize(
    ("by", "clients", "words"),
    [
        ("site", 2, "raise clients to 3"),
        ("Sex", 2, "all 6 are Unknown"),
        ("Age", 2, "all 6 are the same or blank"),
        ("ward", 2, "one of patient, Sex, AP/PA, Frontal/Lateral, site"),
    ],
)
def test_attributes_that_cannot_divide(by, clients, words):
    split = split_of(
        list("abcdef"),
        [[0]] * 6,
        ["Edema"],
        sex=["Unknown"] * 6,
        site=["x", "y", "z"] * 2,
        age=[0] * 6,
    )
    with pytest.raises(SuiteError, match=words):
        partition(choice("attribute", by=by, strictness=1.0), split, clients=clients, seed=0)


def test_natural_sites_keep_their_names():
    split = split_of(
        list("abbc"), [[0]] * 4, ["Edema"], site=["nih", "chexpert", "chexpert", "hospital"]
    )
    shared = partition(choice("natural", column="site"), split, clients=3, seed=0)
    assert shared.names == ("chexpert", "hospital", "nih")
    assert [c.tolist() for c in shared.clients] == [[1, 2], [3], [0]]


def test_a_patient_with_two_sites_stays_whole():
    split = split_of(list("aaab"), [[0]] * 4, ["Edema"], site=["x", "y", "x", "y"])
    shared = partition(choice("natural", column="site"), split, clients=2, seed=0)
    assert [c.tolist() for c in shared.clients] == [[0, 1, 2], [3]]
    assert "1 patients of several values" in shared.description


def test_every_patient_a_client():
    split = split_of(list("cbab"), [[0]] * 4, ["Edema"])
    shared = partition(choice("natural", column="patient"), split, clients=3, seed=0)
    assert [c.tolist() for c in shared.clients] == [[2], [1, 3], [0]]


@pytest.mark.parametrize(
    ("column", "clients", "words"),
    [
        ("site", 3, "set clients to 2"),
        ("AP/PA", 2, "1 patients have no AP/PA(?s:.)*or use 'attribute' with by: AP/PA"),
        ("ward", 2, "1 patients have no ward(?s:.)*to mend: fill the column$"),
        ("Age", 2, "use 'attribute' with by: Age"),
    ],
)
def test_natural_needs_one_client_per_value(column, clients, words):
    split = split_of(
        list("abc"),
        [[0]] * 3,
        ["Edema"],
        site=["x", "y", "x"],
        ward=["north", "", "south"],
        ap_pa=["AP", "PA", ""],
        age=[1, 2, 3],
    )
    with pytest.raises(SuiteError, match=words):
        partition(choice("natural", column=column), split, clients=clients, seed=0)


def test_images_without_columns_cannot_go_by_one():
    pool = images(np.arange(10), DIGITS)
    with pytest.raises(SuiteError, match="images with a class and no column"):
        partition(choice("attribute", by="Sex", strictness=1.0), pool, clients=2, seed=0)
