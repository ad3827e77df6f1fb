"""Two workers share two cores: one thread each, set before anything imports torch or numpy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

LONGEST = ("test_workers.py", "test_kill.py", "test_mnist_run.py", "test_run_command.py")
"""Files of whole commands. A file's tests stay with one worker, so that the longest come first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    last = len(LONGEST)
    items.sort(key=lambda t: LONGEST.index(t.path.name) if t.path.name in LONGEST else last)


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
