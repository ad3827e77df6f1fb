"""Randomness with an address.

A generator is derived from (seed, purpose, round, client) and never from how far some stream has
been read. A resumed run, a run with four workers and a run in another order therefore draw the
same numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

if TYPE_CHECKING:
    import torch


def address(seed: int, purpose: str, round: int = 0, client: int = 0) -> int:
    """The 63-bit key of one place in the experiment.

    ``purpose`` is a word such as ``"partition"``, ``"sampling"``, ``"batches"``, ``"augment"`` or
    ``"init"``. Equal arguments give equal keys on every machine and Python version.
    """
    text = f"{seed}/{purpose}/{round}/{client}".encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class _Key(ISeedSequence):
    """A Philox key as it is. Given as ``key=``, NumPy first asks the system for entropy that it
    then has no use for, which takes three times as long as the rest."""

    def __init__(self, key: int) -> None:
        self._key = key

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> Any:
        """The two words of the key, the second 0."""
        assert n_words == 2, "Philox's key has two words"
        return np.array([self._key, 0], dtype=np.uint64)


def generator(seed: int, purpose: str, round: int = 0, client: int = 0) -> np.random.Generator:
    """A counter-based NumPy generator (Philox; Salmon et al. 2011) for that address."""
    key: Any = _Key(address(seed, purpose, round, client))  # NumPy's stubs lack the protocol
    return np.random.Generator(np.random.Philox(key))


def torch_generator(
    seed: int, purpose: str, round: int = 0, client: int = 0, device: str = "cpu"
) -> torch.Generator:
    """A torch generator for that address, on ``device``."""
    import torch

    return torch.Generator(device=device).manual_seed(address(seed, purpose, round, client))
