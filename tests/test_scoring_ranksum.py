"""The rank-sum test against scipy, against counting, and by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from bench.scoring.ranksum import EXACT_LIMIT, doubled_midranks, lower_p

SMALL = st.lists(st.integers(0, 4), min_size=1, max_size=5)


def test_by_hand() -> None:
    # Of the C(4, 2) = 6 pairs of ranks only {1, 2} sums to 3 and only {1, 3} to 4.
    assert lower_p([1.0, 2.0], [3.0, 4.0]) == 1 / 6
    assert lower_p([1.0, 3.0], [2.0, 4.0]) == 2 / 6
    assert lower_p([3.0, 4.0], [1.0, 2.0]) == 1.0
    assert lower_p([5.0] * 6, [5.0] * 6) == 1.0
    # Six a side, all lower: one of C(12, 6) = 924.
    assert lower_p(range(6), range(6, 12)) == 1 / 924


def test_midranks_by_hand() -> None:
    assert doubled_midranks(np.array([7.0, 3.0, 7.0, 9.0])).tolist() == [5, 2, 5, 8]


@given(SMALL, SMALL)
def test_ties_are_counted_out(sample: list[int], other: list[int]) -> None:
    ranks = doubled_midranks(np.array([*sample, *other], dtype=float))
    sums = [sum(c) for c in combinations(ranks.tolist(), len(sample))]
    observed = sum(ranks[: len(sample)].tolist())
    assert lower_p(sample, other) == pytest.approx(np.mean([s <= observed for s in sums]))


@pytest.mark.parametrize(("n", "m"), [(6, 6), (3, 9), (8, 20), (25, 25)])
def test_equals_scipys_exact_test(n: int, m: int) -> None:
    draw = np.random.default_rng(n)
    for shift in (-1.0, 0.0, 1.0):
        a, b = draw.normal(size=n), draw.normal(size=m) + shift
        expected = mannwhitneyu(a, b, alternative="less", method="exact").pvalue
        assert lower_p(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_equals_scipys_approximation_beyond_that(decimals: int) -> None:
    draw = np.random.default_rng(decimals)
    a, b = draw.normal(size=40).round(decimals), (draw.normal(size=30) + 0.2).round(decimals)
    assert len(a) + len(b) > EXACT_LIMIT
    expected = mannwhitneyu(a, b, alternative="less", method="asymptotic").pvalue
    assert lower_p(a, b) == pytest.approx(expected, rel=1e-9)
    assert lower_p([2.0] * 60, [2.0] * 60) == 1.0


@pytest.mark.parametrize(
    ("sample", "other"), [([], [1.0]), ([1.0], []), ([float("nan")], [1.0]), ([1.0], [np.inf])]
)
def test_what_cannot_be_ranked_is_refused(sample: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        lower_p(sample, other)
