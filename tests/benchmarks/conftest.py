"""What benchmarks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from bench.training.device import prepare


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The process as a run sets it up, on all cores; gives its threads, which are put back."""
    monkeypatch.delenv("OMP_NUM_THREADS")  # the tests' own, by which two of them share two cores
    before = torch.get_num_threads()
    yield prepare(torch.device("cpu"))
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)
