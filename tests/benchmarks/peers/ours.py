"""This project's engine, in one process.

torch is imported as ``bench run`` imports it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.garbage import uncollected
from tests.benchmarks.peers.workload import Clock, asked

with uncollected():
    import torch

    from bench.training.device import prepare
    from tests.benchmarks.peers.ours_federation import federation_of


def main() -> None:
    workload, rounds = asked()
    clock = Clock()
    device = torch.device("cpu")
    prepare(device)
    with tempfile.TemporaryDirectory() as folder:
        federation = federation_of(workload, device, Path(folder))
        for number in range(1, rounds + 1):
            federation.round(number)
            clock.lap()
    clock.report()


main()
