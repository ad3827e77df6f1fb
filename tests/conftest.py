"""Two workers share two cores: one thread each, set before anything imports torch or numpy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def torch_as_ever() -> Iterator[None]:
    """A run sets threads and the flushing of subnormal numbers for its process; tests share one,
    and Hypothesis refuses to draw numbers where some are flushed."""
    torch = sys.modules.get("torch")
    threads = None if torch is None else torch.get_num_threads()
    if torch is not None:
        torch.set_flush_denormal(False)
    yield
    if threads is not None:
        torch.set_num_threads(threads)
