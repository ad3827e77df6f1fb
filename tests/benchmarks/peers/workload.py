"""The work that every peer does, and what a peer's script prints. Needs numpy and nothing else.

A script is started as ``python PEER.py WORKLOAD ROUNDS`` and prints one JSON object on its last
line of stdout: ``{"first_round": s, "engine_first_round": s, "rounds": [s, …]}``, the seconds to
the end of its first round from the start of the process, and from when its imports were done and
the engine began, and those of each round after it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field

import numpy as np

CLIENTS, SELECTED, SIDE, CLASSES = 100, 10, 28, 10
LEARNING_RATE = 0.05
SEED = 0
NOISE = 1000
"""Images of noise; divides the images of every workload."""


@dataclass(frozen=True)
class Workload:
    """One epoch a client and round, plain SGD."""

    network: str
    """``2nn`` or ``mcmahan-cnn`` of McMahan et al. 2017."""
    images: int
    """A client's."""
    batch: int


WORKLOADS = {
    "2nn": Workload("2nn", 600, 10),
    "cnn": Workload("mcmahan-cnn", 600, 50),
    "2nn-small": Workload("2nn", 10, 10),
}


def data(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """(n, 28, 28) uint8 images, client after client, and (n,) int64 labels, learnable.

    The noise over them repeats every thousand images: to make the data takes no time that would be
    taken for an engine's.
    """
    random = np.random.default_rng(SEED)
    count = CLIENTS * workload.images
    labels = random.integers(0, CLASSES, count)
    patterns = random.integers(0, 128, (CLASSES, SIDE, SIDE), dtype=np.uint8)
    images = patterns[labels]
    blocks = images.reshape(-1, NOISE, SIDE, SIDE)
    blocks += random.integers(0, 128, blocks.shape[1:], dtype=np.uint8)
    return images, labels


def rows(workload: Workload, client: int) -> slice:
    """Where a client's images stand."""
    return slice(client * workload.images, (client + 1) * workload.images)


def chosen(number: int) -> np.ndarray:
    """The clients of a round; the simulators draw their own."""
    return np.random.default_rng((SEED, number)).choice(CLIENTS, SELECTED, replace=False)


def asked() -> tuple[Workload, int]:
    """What the command line asks for."""
    return WORKLOADS[sys.argv[1]], int(sys.argv[2])


@dataclass
class Clock:
    """Call :meth:`lap` at the end of every round."""

    started: float = field(default_factory=lambda: float(os.environ["PEER_STARTED"]))
    """``time.time()`` just before the process was started, by who started it."""
    ready: float = field(default_factory=time.time)
    """When the script's imports were done. What an engine imports later, here or in processes that
    it starts, counts as its own."""
    laps: list[float] = field(default_factory=list)

    def lap(self) -> None:
        self.laps.append(time.time())

    def report(self) -> None:
        """Prints the result."""
        rounds = [b - a for a, b in zip(self.laps, self.laps[1:])]  # noqa: B905
        result = {
            "first_round": self.laps[0] - self.started,
            "engine_first_round": self.laps[0] - self.ready,
            "rounds": rounds,
        }
        print(json.dumps(result), flush=True)
