"""AUROC, DeLong and their intervals against hand arithmetic and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from bench.scoring.auroc import auroc, placements, undefined_reason
from bench.scoring.delong import components, covariance, influence
from bench.scoring.intervals import has_variance, interval, newcombe

LABELS = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
SCORES = np.array([0.9, 0.6, 0.4, 0.6, 0.3, 0.2, 0.1])
"""Three positives against four negatives with one tie: worked out by hand below."""


def slow_delong(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs and covariance of scores (k, n) by every pair, as DeLong 1988 writes it."""
    x, y = scores[:, labels == 1], scores[:, labels == 0]
    psi = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    theta = psi.mean(axis=(1, 2))
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    s10 = np.atleast_2d(np.cov(v10, ddof=1))
    s01 = np.atleast_2d(np.cov(v01, ddof=1))
    return theta, s10 / x.shape[1] + s01 / y.shape[1]


def test_components_by_hand() -> None:
    parts = placements(LABELS, SCORES)
    # 0.9 beats all four; 0.6 beats three and ties one; 0.4 beats three.
    assert parts.v10.tolist() == [4 / 4, 3.5 / 4, 3 / 4]
    # 0.6 is beaten by 0.9 and tied by 0.6; the others by all three.
    assert parts.v01.tolist() == [1.5 / 3, 1.0, 1.0, 1.0]
    assert parts.auroc == 10.5 / 12


def test_variance_by_hand() -> None:
    parts = components(LABELS, SCORES[None])
    # S10 = ((1/8)² + 0 + (1/8)²) / 2 = 1/64; S01 = ((3/8)² + 3 · (1/8)²) / 3 = 1/16.
    assert covariance(parts)[0, 0] == pytest.approx(1 / 64 / 3 + 1 / 16 / 4, rel=1e-15)


def test_blank_labels_are_left_out() -> None:
    labels = np.append(LABELS, [np.nan, np.nan])
    scores = np.append(SCORES, [1.0, 0.0])
    assert auroc(labels, scores) == auroc(LABELS, SCORES)
    assert covariance(components(labels, scores[None])) == covariance(
        components(LABELS, SCORES[None])
    )


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([1.0, 1.0], "no negatives"),
        ([0.0, 0.0], "no positives"),
        ([np.nan, np.nan], "no labels"),
        ([np.nan, 1.0], "no negatives"),
    ],
)
def test_a_missing_class_is_undefined_with_its_reason(labels: list[float], reason: str) -> None:
    truth, scores = np.array(labels), np.array([0.1, 0.2])
    assert undefined_reason(truth, scores) == reason
    assert math.isnan(auroc(truth, scores))


def test_nan_scores_are_undefined_and_counted() -> None:
    scores = SCORES.copy()
    scores[[0, 4]] = np.nan
    assert undefined_reason(LABELS, scores) == "2 scores are NaN"
    assert math.isnan(auroc(LABELS, scores))
    scores[4] = SCORES[4]
    assert undefined_reason(LABELS, scores) == "1 score is NaN"
    only_unlabelled = np.append(LABELS, np.nan)
    assert auroc(only_unlabelled, np.append(SCORES, np.nan)) == 10.5 / 12


def test_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be 0, 1 or NaN. Got -1.0"):
        auroc(np.array([1.0, 0.0, -1.0]), np.array([1.0, 2.0, 3.0]))


def test_infinite_scores_rank() -> None:
    assert auroc(np.array([1.0, 0.0, 0.0]), np.array([np.inf, 0.0, -np.inf])) == 1.0


labelled = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n),
        st.lists(
            st.lists(
                st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 7.0, 1e9]), min_size=n, max_size=n
            ),
            min_size=2,
            max_size=3,
        ),
    )
)


@settings(max_examples=150, deadline=None)
@given(labelled)
def test_delong_equals_every_pair_with_ties(case: tuple[list[float], list[list[float]]]) -> None:
    labels, scores = np.array(case[0]), np.array(case[1])
    p = int(labels.sum())
    if p < 2 or len(labels) - p < 2:
        return
    theta, expected = slow_delong(labels, scores)
    parts = components(labels, scores)
    np.testing.assert_allclose(parts.auroc, theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(covariance(parts), expected, rtol=0, atol=1e-12)
    for row, value in zip(scores, parts.auroc, strict=True):
        assert value == pytest.approx(roc_auc_score(labels, row), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_every_pair_at_size(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(700) < 0.2).astype(float)
    scores = np.round(rng.normal(size=(4, 700)) + labels, 1)
    theta, expected = slow_delong(labels, scores)
    parts = components(labels, scores)
    np.testing.assert_allclose(parts.auroc, theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(covariance(parts), expected, rtol=1e-12, atol=1e-15)
    whole = influence(np.repeat(labels[:, None], 4, axis=1), scores.T[None])
    np.testing.assert_allclose(whole.covariance(), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(whole.variance(), np.diag(expected), rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(labelled)
def test_auroc_is_the_mann_whitney_statistic(case: tuple[list[float], list[list[float]]]) -> None:
    labels, scores = np.array(case[0]), np.array(case[1][0])
    p = int(labels.sum())
    if p in (0, len(labels)):
        return
    u = stats.mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    value = auroc(labels, scores)
    assert value == pytest.approx(u / (p * (len(labels) - p)), abs=1e-12)
    assert auroc(labels, -scores) == pytest.approx(1.0 - value, abs=1e-15)
    assert auroc(labels, np.arctan(scores)) == value


def test_members_average_components_before_variance() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((200, 1)) < 0.3).astype(float)
    scores = rng.normal(size=(3, 200, 1)) + labels
    parts = influence(labels, scores)
    theta, matrix = slow_delong(labels[:, 0], scores[:, :, 0])
    assert parts.auroc[0] == pytest.approx(theta.mean(), abs=1e-15)
    # The variance of a mean of three correlated estimates is the mean of their covariances.
    assert parts.variance()[0] == pytest.approx(matrix.mean(), rel=1e-12)
    same = np.repeat(scores[:1], 5, axis=0)
    assert influence(labels, same).variance()[0] == pytest.approx(matrix[0, 0], rel=1e-12)


def test_covariance_between_conditions_by_simulation() -> None:
    """Two conditions with different labels: the mean estimate is the covariance over redraws."""
    rng = np.random.default_rng(11)
    drawn, estimated = [], []
    for _ in range(1500):
        sick, blur = rng.normal(size=(2, 100, 1))
        labels = (sick + 0.5 * rng.normal(size=(100, 2)) > 0.3).astype(float)
        scores = labels + blur + 0.3 * rng.normal(size=(100, 2))
        parts = influence(labels, scores[None])
        drawn.append(parts.auroc)
        estimated.append(parts.covariance())
    truth, mean = np.cov(np.array(drawn).T), np.mean(estimated, axis=0)
    # A simulated covariance c of 1,500 draws has a standard error of about (v + c) / √1500.
    noise = 3 * truth[0, 0] * 2 / math.sqrt(1500)
    assert truth[0, 1] > 2 * noise
    np.testing.assert_allclose(mean, truth, rtol=0, atol=noise)


@pytest.mark.parametrize("labels", [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
def test_one_of_a_class_has_no_variance(labels: list[float]) -> None:
    scores = np.array([[0.7, 0.2, 0.6]])
    assert np.isnan(covariance(components(np.array(labels), scores))).all()
    assert np.isnan(influence(np.array(labels)[:, None], scores[:, :, None]).variance()).all()


def test_wald_and_logit_intervals_by_formula() -> None:
    z = stats.norm.ppf(0.975)
    assert interval(0.8, 0.0004, "wald") == pytest.approx((0.8 - z * 0.02, 0.8 + z * 0.02))
    centre, half = np.log(4.0), z * 0.02 / 0.16
    expected = 1 / (1 + np.exp(-(centre - half))), 1 / (1 + np.exp(-(centre + half)))
    assert interval(0.8, 0.0004, "logit") == pytest.approx(expected)
    narrow = interval(0.8, 0.0004, "wald", 0.5)
    assert narrow[0] == pytest.approx(0.8 - stats.norm.ppf(0.75) * 0.02)


def test_wald_is_cut_and_logit_stays_inside() -> None:
    assert interval(0.99, 0.0004, "wald")[1] == 1.0
    low, high = interval(0.99, 0.0004, "logit")
    assert 0.0 < low < 0.99 < high < 1.0


@pytest.mark.parametrize("variance", [0.0, math.nan, 1e-33])
def test_no_interval_without_variance(variance: float) -> None:
    assert not has_variance(variance)
    with pytest.raises(ValueError, match="'variance' must be positive"):
        interval(0.8, variance)


@pytest.mark.parametrize(("auroc_value", "p", "q"), [(0.8, 20, 30), (0.55, 5, 200), (0.97, 3, 4)])
def test_newcombe_solves_its_equation(auroc_value: float, p: int, q: int) -> None:
    z = stats.norm.ppf(0.975)
    extra = (p + q) / 2 - 1
    for end in newcombe(auroc_value, p, q):
        variance = (
            end * (1 - end) / (p * q) * (1 + extra * ((1 - end) / (2 - end) + end / (1 + end)))
        )
        assert abs(end - auroc_value) == pytest.approx(z * math.sqrt(variance), abs=1e-9)


def test_newcombe_at_the_ends() -> None:
    low, high = newcombe(1.0, 10, 40)
    assert high == 1.0
    assert 0.7 < low < 1.0
    assert newcombe(0.0, 10, 40) == pytest.approx((0.0, 1.0 - low))
    assert newcombe(1.0, 100, 400)[0] > low
    assert newcombe(1.0, 1, 1)[0] < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("separation", [0.8, 1.5, 2.2])
def test_logit_interval_covers_at_75_positives_of_500(separation: float) -> None:
    """Binormal scores have the known AUROC Φ(d / √2): 0.714, 0.856 and 0.940.

    Of 4,000 draws the coverage has a standard error of 0.34 %, and three of them are allowed.
    """
    draws = 4000
    truth = stats.norm.cdf(separation / math.sqrt(2))
    rng = np.random.default_rng(2014)
    labels = np.repeat([1.0, 0.0], [75, 425])
    covered = 0
    for _ in range(draws):
        scores = rng.normal(size=(1, 500)) + separation * labels
        parts = components(labels, scores)
        low, high = interval(float(parts.auroc[0]), float(covariance(parts)[0, 0]))
        covered += low <= truth <= high
    assert abs(covered / draws - 0.95) < 3 * math.sqrt(0.95 * 0.05 / draws)
