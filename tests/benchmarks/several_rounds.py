"""Rounds of the peers' workloads by this engine, with and without clients trained at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.training.device import prepare, resolve_device
from tests.benchmarks.peers.ours_federation import federation_of
from tests.benchmarks.peers.workload import WORKLOADS

UNEQUAL, LEAST = "-unequal", 0.1
"""A workload's clients have from all of their images down to a tenth, where its name ends so."""


class Rounds:
    """One federation, round by round."""

    def __init__(self, workload: str, device: torch.device, folder: Path, *, at_once: bool) -> None:
        self._federation = federation_of(
            WORKLOADS[workload.removesuffix(UNEQUAL)],
            device,
            folder,
            at_once=at_once,
            least=LEAST if workload.endswith(UNEQUAL) else 1.0,
        )
        self._number = 0

    @property
    def reason(self) -> str:
        """How steps are executed, and why."""
        return self._federation.trainer.execution.reason

    def next(self) -> float:
        """Seconds of the next round, the device's work included."""
        self._number += 1
        started = time.perf_counter()
        self._federation.round(self._number)  # looks at the new global model in the end
        return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Both:
    """The same federation twice."""

    chosen: Rounds
    """As the engine has it."""
    alone: Rounds
    """One client after another."""


def rounds_of(workload: str, device: str, folder: Path) -> Both:
    """The two federations of that workload, before their first round."""
    place = resolve_device(device)
    prepare(place)
    ways = (Rounds(workload, place, folder / str(i), at_once=i == 0) for i in range(2))
    return Both(*ways)
