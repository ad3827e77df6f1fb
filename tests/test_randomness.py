"""Generators by address."""

from __future__ import annotations

import numpy as np
import pytest

from bench.randomness import address, generator, torch_generator

KEY = 0x57F9C14DA0B864BC
"""Of ``printf 0/batches/1/2 | b2sum -l 64``: its bytes from the last to the first, halved."""


@pytest.mark.parametrize("place", [(0, "batches"), (7, "init", 3, 12), (-1, "lsr", 10**6)])
def test_a_generator_is_philox_under_the_addresss_key(place):
    expected = np.random.Generator(np.random.Philox(key=address(*place)))
    ours = generator(*place)
    assert ours.integers(0, 2**63, 50).tolist() == expected.integers(0, 2**63, 50).tolist()
    assert ours.permutation(1000).tolist() == expected.permutation(1000).tolist()
    assert ours.normal(size=9).tolist() == expected.normal(size=9).tolist()


def test_keys_are_the_same_on_every_machine():
    assert address(0, "batches", 1, 2) == KEY
    assert torch_generator(0, "batches", 1, 2).initial_seed() == KEY


def test_every_part_of_an_address_counts():
    keys = [(0, "a", 1, 2), (1, "a", 1, 2), (0, "b", 1, 2), (0, "a", 2, 2), (0, "a", 1, 3)]
    assert len({address(*key) for key in keys}) == 5
