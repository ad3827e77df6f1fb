"""When to do what is not training: checkpoints by the clock, the yardstick within a budget."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from bench.training.device import Precision

CHECKPOINT_SECONDS = 5.0
"""A kill loses at most this much training, and rounds of milliseconds are not slowed by disks."""
YARDSTICK_SHARE = 0.05
"""The most time the yardstick may take, as a share of the training it is measured beside."""


class Pace:
    """Keeps the clocks of one scenario."""

    def __init__(self, device: torch.device, precision: Precision) -> None:
        self._device = device
        self._precision = precision
        self._checkpointed = time.monotonic()
        self._trained = 0.0
        self._measured = 0.0
        self._cost = 0.0

    def checkpoint_due(self) -> bool:
        """True when the last checkpoint is old enough; the clock then starts anew."""
        now = time.monotonic()
        if now - self._checkpointed < CHECKPOINT_SECONDS:
            return False
        self._checkpointed = now
        return True

    def yardstick_beside(self, seconds: float) -> float | None:
        """The fixed workload's images/s, measured right after a round of that length.

        None where measuring would take more than ``YARDSTICK_SHARE`` of the training so far.
        """
        from bench.training.yardstick import yardstick

        self._trained += seconds
        if self._measured + self._cost > YARDSTICK_SHARE * self._trained:
            return None
        began = time.perf_counter()
        speed = yardstick(self._device, self._precision)
        self._cost = time.perf_counter() - began
        self._measured += self._cost
        return round(speed, 3)
