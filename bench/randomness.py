"""Randomness with an address.

A generator is derived from (seed, purpose, round, client) and never from how far some stream has
been read. A resumed run, a run with four workers and a run in another order therefore draw the
same numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

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


def generator(seed: int, purpose: str, round: int = 0, client: int = 0) -> np.random.Generator:
    """A counter-based NumPy generator (Philox; Salmon et al. 2011) for that address."""
    return np.random.Generator(np.random.Philox(key=address(seed, purpose, round, client)))


def torch_generator(
    seed: int, purpose: str, round: int = 0, client: int = 0, device: str = "cpu"
) -> torch.Generator:
    """A torch generator for that address, on ``device``."""
    import torch

    return torch.Generator(device=device).manual_seed(address(seed, purpose, round, client))
