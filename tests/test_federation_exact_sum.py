"""Sums that no order of their terms changes, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.federation import exact_sum
from bench.federation.exact_sum import (
    CHUNK,
    ExactSum,
    OutOfRange,
    multiplies_and_adds_at_once,
    with_last_bit,
)

# subnormal numbers are no numbers where a run has told the processor to flush them
numbers = st.floats(min_value=-10000, max_value=10000, width=32, allow_subnormal=False)
weights = st.floats(min_value=0, max_value=1, allow_subnormal=False)
terms = st.lists(st.tuples(numbers, numbers, weights), min_size=1, max_size=12)


def total(items, magnitude: float = 1.0) -> torch.Tensor:
    running = ExactSum(2, "cpu")
    running.start(magnitude)
    for a, b, weight in items:
        running.add(torch.tensor([a, b]), weight)
    return running.total()


@given(terms, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_any_order_gives_the_same_bits(items, random):
    shuffled = list(items)
    random.shuffle(shuffled)
    assert total(items).tolist() == total(shuffled).tolist()


@given(st.lists(st.integers(-(2**24), 2**24), min_size=2, max_size=8))
@settings(max_examples=150, deadline=None)
def test_what_lies_between_two_steps_is_rounded_without_regard_to_the_sum(counts):
    """Halves of odd counts of the step, 2^-45, would round to the even one of two sums, and so
    depend on the sum before them, were the weight not the next above a half."""
    halves = [(count * 2.0**-45, 1.0, 0.5) for count in counts]
    # just above a half of it: away from zero
    expected = sum(math.copysign((abs(c) + 1) // 2, c) for c in counts) * 2.0**-45
    assert total(halves)[0].item() == total(halves[::-1])[0].item() == expected


def test_the_last_bit_of_a_weight_is_set():
    assert with_last_bit(0.5) == 0.5 + 2.0**-53
    assert with_last_bit(-0.5) == -0.5 - 2.0**-53
    assert with_last_bit(0.1) == float.fromhex("0x1.999999999999bp-4")
    assert with_last_bit(0.3) == 0.3 == float.fromhex("0x1.3333333333333p-2")


def test_whether_operations_are_fused_is_told_by_what_the_product_would_lose():
    """(1 + 2^-30)² is 1 + 2^-29 + 2^-60, of which a float64 keeps the first two."""
    above, less = 1.0 + 2.0**-30, 1.0 + 2.0**-29
    assert Fraction(above) ** 2 - Fraction(less) == Fraction(1, 2**60)
    assert above * above == less
    told = multiplies_and_adds_at_once(torch.device("cpu"))
    term = torch.full((67,), above, dtype=torch.float64)
    sums = torch.full_like(term, -less).add_(term, alpha=above)
    assert told == (sums.unique().tolist() == [2.0**-60])


@given(terms)
@settings(max_examples=50, deadline=None)
def test_without_fused_operations_the_bits_are_the_same(items):
    """Each term is then rounded before it is added; here that rounding is itself a fused one."""
    fused = total(items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_sum, "multiplies_and_adds_at_once", lambda device: False)
        assert torch.equal(total(items), fused)


def test_a_long_vector_of_a_large_network_is_summed_in_float64(monkeypatch):
    """Its norm, 200, is beyond what is bounded by it; its largest value, 0.1, is not."""
    monkeypatch.setattr(ExactSum, "_add_wide", None)
    running = ExactSum(4_000_000, "cpu")
    vector = torch.full((4_000_000,), 0.1)
    for _ in range(10):
        running.add(vector, 0.1)
    assert abs(running.total() - 0.1).max() < 1e-8


@given(terms)
@settings(max_examples=150, deadline=None)
def test_is_within_half_a_step_a_term_of_the_true_sum(items):
    """The step is 2^(7-52) for terms of magnitude one; a weight may be its neighbour."""
    allowed = sum(Fraction(1, 2**46) + abs(Fraction(a) * Fraction(w)) / 2**52 for a, _, w in items)
    exact = sum(Fraction(a) * Fraction(w) for a, _, w in items)
    assert abs(Fraction(float(total(items)[0])) - exact) <= allowed + abs(exact) / 2**53


def test_large_terms_take_another_path_to_the_same_grid():
    """64 is the last value of the fast path; 100.1 is beyond it, and both are on the same grid."""
    small, large = (0.1, 64.0, 1.0), (100.1, 0.3, 1.0)
    grid = 2.0**-45
    for value in total([small, large]).tolist():
        assert value % grid == 0
    expected = round(float(torch.tensor(100.1)) / grid) + round(float(torch.tensor(0.1)) / grid)
    assert total([small, large])[0].item() == expected * grid


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_whole_numbers_hold_the_same_sum(terms):
    """What a team adds up are the multiples of the grid; asked for after any term, they go on."""
    values = torch.linspace(-4, 4, CHUNK["cpu"] * torch.get_num_threads() + 3)
    narrow = ExactSum(len(values), "cpu")
    for weight in (0.3, 0.1, 0.6):
        narrow.add(values, weight)
    wide = ExactSum(len(values), "cpu")
    for number, weight in enumerate((0.3, 0.1, 0.6), start=1):
        wide.add(values, weight)
        if number == terms:
            assert wide.integers.dtype == torch.int64
    assert torch.equal(narrow.total(), wide.total())


def test_parts_of_several_processes_make_the_whole():
    """One process of three had no client."""
    values = [torch.tensor([0.1, -3.7, 50.3]), torch.tensor([1e-9, 20.0, -49.0])]
    whole, *parts = (ExactSum(3, "cpu") for _ in range(4))
    for vector, part in zip(values, parts, strict=False):
        whole.add(vector, 0.7)
        part.add(vector, 0.7)
    added = sum(part.integers.clone() for part in parts)
    told = [part.part() for part in parts]
    parts[0].integers.copy_(added)
    parts[0].merge([{k: v.copy() if k == "weights" else v for k, v in t.items()} for t in told])
    assert torch.equal(parts[0].total(), whole.total())
    assert parts[0].weight == whole.weight == 1.4


def test_a_sum_that_was_read_has_ended():
    running = ExactSum(1, "cpu")
    running.add(torch.ones(1), 0.5)
    assert running.total() is running.total()
    with pytest.raises(AssertionError, match="started"):
        running.add(torch.ones(1), 0.5)


def test_without_terms_the_sum_is_zero():
    running = ExactSum(2, "cpu")
    running.add(torch.ones(2), 1.0)
    running.start(1.0)
    assert running.total().tolist() == [0.0, 0.0]
    running.start(1.0)
    assert running.integers.tolist() == [0, 0]


def test_one_term_with_weight_one_comes_back_as_it_was():
    values = torch.randn(1000)
    running = ExactSum(1000, "cpu")
    running.add(values, 1.0)
    assert torch.equal(running.total().float(), values)


def test_vectors_longer_than_a_chunk_are_summed_throughout():
    size = CHUNK["cpu"] * torch.get_num_threads() + 3
    running = ExactSum(size, "cpu")
    ramp = torch.arange(size, dtype=torch.float32) / 2**18
    running.add(ramp, 0.25)
    running.add(ramp, 0.75)
    assert torch.equal(running.total(), ramp.double())


@pytest.mark.parametrize("path", ["narrow", "wide", "large"])
def test_what_is_to_follow_takes_the_place_of_the_vector(path):
    size = CHUNK["cpu"] * torch.get_num_threads() + 3
    vector = torch.linspace(-4, 100 if path == "large" else 4, size)
    expected, following = vector.double() * 0.5, torch.arange(size, dtype=torch.float32)
    running = ExactSum(size, "cpu", often=[vector])
    if path == "wide":
        assert not running.integers.any()
    running.add(vector, 0.5, then=following)
    assert torch.equal(vector, following)
    assert following[-1] == size - 1, "what follows is as it was"
    running.add(torch.zeros(size), 0.5)
    torch.testing.assert_close(running.total(), expected, rtol=0, atol=2.0**-44)


def test_a_vector_that_is_refused_is_as_it_was():
    vector = torch.tensor([0.5, math.inf])
    with pytest.raises(OutOfRange):
        ExactSum(2, "cpu").add(vector, 1.0, then=torch.zeros(2))
    assert vector.tolist() == [0.5, math.inf]


@pytest.mark.parametrize("path", ["narrow", "wide", "read", "empty"])
def test_a_sum_is_written_rounded_to_fp32(path):
    size = CHUNK["cpu"] * torch.get_num_threads() + 3
    sums = [ExactSum(size, "cpu") for _ in range(2)]
    for running in sums:
        if path == "wide":
            assert not running.integers.any()
        if path != "empty":
            running.add(torch.linspace(-4, 4, size), 0.3)
            running.add(torch.linspace(3, -1, size), 0.7)
    if path == "read":
        sums[0].total()
    out = torch.full((size,), math.nan)
    sums[0].copy_to(out)
    assert torch.equal(out, sums[1].total().float())


def test_start_forgets():
    running = ExactSum(1, "cpu")
    running.add(torch.ones(1), 0.5)
    running.start(1.0)
    running.add(torch.ones(1), 0.25)
    assert (running.total().item(), running.weight) == (0.25, 0.25)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**18])
def test_what_the_grid_cannot_hold_is_refused(value):
    with pytest.raises(OutOfRange):
        ExactSum(2, "cpu").add(torch.tensor([0.0, value]), 1.0)


def test_a_sum_beyond_the_grid_is_refused_though_each_term_would_fit():
    running = ExactSum(1, "cpu")
    for _ in range(2):
        running.add(torch.tensor([60_000.0]), 1.0)
    with pytest.raises(OutOfRange):
        running.add(torch.tensor([60_000.0]), 1.0)


def test_the_reach_grows_with_the_magnitude():
    running = ExactSum(1, "cpu")
    running.start(2.0**30)
    running.add(torch.tensor([2.0**40]), 1.0)
    assert running.total().item() == 2.0**40


def test_an_empty_vector_has_an_empty_sum():
    running = ExactSum(0, "cpu")
    running.add(torch.zeros(0), 1.0)
    assert running.total().numel() == 0
