"""Tests of differences, Holm's correction and the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.scoring.auroc import auroc
from bench.scoring.bootstrap import _cumulate, bootstrap, percentile_interval
from bench.scoring.delong import influence
from bench.scoring.holm import holm
from bench.scoring.paired import (
    Difference,
    difference_test,
    paired_mean_test,
    paired_tests,
)
from tests.test_scoring_auroc import slow_delong


def drawn(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(float)
    shared = rng.normal(size=n)
    return labels, labels + shared, np.round(0.7 * labels + 0.8 * shared + rng.normal(size=n), 1)


def paired_test(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> Difference:
    """Of one observation, for scores (n,), or (m, n) with m members."""
    first, second = (np.atleast_2d(values)[:, :, None] for values in (a, b))
    (found,) = paired_tests(labels[:, None], first, second, ("",))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_paired_test_equals_delong_by_pairs(seed: int) -> None:
    labels, a, b = drawn(seed)
    theta, matrix = slow_delong(labels, np.stack([a, b]))
    error = math.sqrt(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    result = paired_test(labels, a, b)
    assert result.difference == pytest.approx(theta[0] - theta[1], abs=1e-12)
    assert result.error == pytest.approx(error, abs=1e-12)
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(theta[0] - theta[1]) / error), rel=1e-9)
    assert result.ci is not None
    assert result.ci[1] - result.difference == pytest.approx(stats.norm.ppf(0.975) * error)


def test_identical_predictions_give_p_one() -> None:
    labels, a, _ = drawn(0)
    result = paired_test(labels, a, a)
    assert (result.difference, result.p, result.ci) == (0.0, 1.0, (0.0, 0.0))
    # A monotone transformation ranks alike.
    assert paired_test(labels, a, np.exp(a)).p == 1.0
    assert paired_test(labels, np.stack([a, a, a]), a).p == 1.0


def test_perfect_against_constant_bears_no_test() -> None:
    labels = np.array([1.0, 1.0, 0.0, 0.0])
    result = paired_test(labels, labels, np.zeros(4))
    assert result.difference == 0.5
    assert math.isnan(result.p)
    assert result.undefined == "DeLong's variance of the difference is zero"


def test_too_few_and_undefined_say_so() -> None:
    one = paired_test(np.array([1.0, 0.0, 0.0]), np.arange(3.0), np.arange(3.0)[::-1])
    assert math.isnan(one.p)
    assert one.undefined == "fewer than two positives or negatives"
    none = paired_test(np.zeros(3), np.arange(3.0), np.arange(3.0)[::-1])
    assert none.undefined == "an AUROC is undefined"


def test_paired_test_keeps_its_level() -> None:
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(800):
        labels = np.repeat([1.0, 0.0], [60, 140])
        shared = rng.normal(size=200) + labels
        p_values.append(
            paired_test(labels, shared + rng.normal(size=200), shared + rng.normal(size=200)).p
        )
    share = np.mean(np.array(p_values) < 0.05)
    assert abs(share - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 800) + 0.01


def test_members_and_conditions() -> None:
    labels, a, b = drawn(1)
    truth = np.stack([labels, labels], axis=1)
    first = np.stack([np.stack([a, b], axis=1), np.stack([a, a], axis=1)])
    second = np.stack([b, a], axis=1)[None]
    x, y = paired_tests(truth, first, second, ("Edema", "Fracture"))
    assert x.p == pytest.approx(paired_test(labels, a, b).p)
    assert y.a == pytest.approx((auroc(labels, a) + auroc(labels, b)) / 2)
    mean = paired_mean_test(truth, first, second, ("Edema", "Fracture"))
    assert mean is not None
    assert mean.p == pytest.approx(x.p)
    assert paired_mean_test(truth, first, second, ("No Finding", "Fracture")) is None


def test_mean_difference_uses_the_covariance_between_tasks() -> None:
    labels, a, b = drawn(2)
    truth = np.stack([labels, labels], axis=1)
    first, second = np.stack([a, a], axis=1)[None], np.stack([b, b], axis=1)[None]
    single = paired_test(labels, a, b)
    mean = paired_mean_test(truth, first, second, ("Edema", "Atelectasis"))
    assert mean is not None
    # Two copies of one task know no more than one.
    assert mean.error == pytest.approx(single.error, rel=1e-12)


def test_difference_is_a_z_test() -> None:
    result = difference_test("x", 0.85, 0.80, 0.0004)
    assert result.error == pytest.approx(0.02)
    assert result.p == pytest.approx(2 * stats.norm.sf(2.5))
    assert result.ci == pytest.approx((0.05 - 1.959964 * 0.02, 0.05 + 1.959964 * 0.02))
    assert difference_test("x", 0.8, 0.8, 0.0).p == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04 → 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_holm_leaves_untested_aside() -> None:
    adjusted = holm([0.02, math.nan, 0.04])
    np.testing.assert_allclose(adjusted[[0, 2]], [0.04, 0.04])
    assert math.isnan(adjusted[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_raw_and_bonferroni(p: list[float]) -> None:
    raw, adjusted = np.array(p), holm(p)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1.0, raw * len(p)) + 1e-15).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


@given(st.integers(0, 400), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_cumulate_is_cumsum(k: int, b: int) -> None:
    rows = np.random.default_rng(k).integers(0, 9, size=(k + 1, b)).astype(np.float32)
    np.testing.assert_array_equal(_cumulate(rows), np.cumsum(rows, axis=0))


@pytest.mark.parametrize("rounding", [0, 8])
def test_bootstrap_equals_resampling_by_hand(rounding: int) -> None:
    """Every replicate's AUROC is that of the studies it drew, repeated."""
    rng = np.random.default_rng(7)
    patients = np.array([f"p{i // 3}" for i in range(90)])
    labels = (rng.random((90, 2)) < 0.4).astype(float)
    labels[:5, 1] = np.nan
    scores = np.round(rng.normal(size=(2, 90, 2)) + np.nan_to_num(labels), rounding)
    result = bootstrap(labels, scores, patients, replicates=70, seed=4)
    assert result.patients == 30
    names, index = np.unique(patients, return_inverse=True)
    from bench.scoring.bootstrap import _draws

    weights = np.concatenate(list(_draws(len(names), 70, 4)))
    assert (weights.sum(axis=1) == 30).all()
    for replicate in (0, 13, 69):
        rows = np.repeat(np.arange(90), weights[replicate][index].astype(int))
        for c in range(2):
            expected = np.mean([auroc(labels[rows, c], m[rows, c]) for m in scores])
            assert result.aurocs[replicate, c] == pytest.approx(expected, abs=1e-12)


def test_bootstrap_agrees_with_delong_for_independent_studies() -> None:
    labels, a, _ = drawn(9, n=800)
    variance = influence(labels[:, None], a[None, :, None]).variance()[0]
    result = bootstrap(labels[:, None], a[None, :, None], np.arange(800), replicates=2000)
    assert result.aurocs.std() == pytest.approx(math.sqrt(variance), rel=0.08)


def test_bootstrap_by_patient_is_wider_for_repeated_studies() -> None:
    labels, a, _ = drawn(9, n=200)
    patients = np.repeat(np.arange(200), 4)
    labels, a = np.repeat(labels, 4)[:, None], np.repeat(a, 4)[None, :, None]
    clustered = bootstrap(labels, a, patients, replicates=600).aurocs.std()
    naive = bootstrap(labels, a, np.arange(800), replicates=600).aurocs.std()
    assert clustered == pytest.approx(2 * naive, rel=0.15)


def test_bootstrap_repeats_and_depends_on_the_seed() -> None:
    labels, a, _ = drawn(3)
    cases = [
        bootstrap(labels[:, None], a[None, :, None], np.arange(300), replicates=100, seed=seed)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(cases[0].aurocs, cases[1].aurocs)
    assert not np.array_equal(cases[0].aurocs, cases[2].aurocs)


def test_percentiles_need_defined_replicates() -> None:
    values = np.linspace(0.0, 1.0, 1001)
    assert percentile_interval(values) == pytest.approx((0.025, 0.975))
    values[:100] = np.nan
    assert percentile_interval(values) is None


def test_equal_replicates_are_no_interval() -> None:
    """All studies are one patient's: every replicate is the same, and certainty is not meant."""
    labels, scores = (
        np.array([[1.0], [0.0], [0.0], [1.0]]),
        np.array([[[9.0], [1.0], [8.5], [8.0]]]),
    )
    drawn = bootstrap(labels, scores, np.zeros(4), replicates=100)
    assert set(drawn.aurocs[:, 0]) == {0.75}
    assert drawn.interval(0) is None
    assert drawn.mean_interval([0]) is None
