"""How much a client trains in a round."""

from __future__ import annotations

from dataclasses import dataclass

from bench.suites.scenario import Scenario
from bench.training.images import batch_bounds, passes


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """So many epochs, or so many steps in their place."""

    epochs: int
    """E of McMahan et al. 2017."""
    steps: int | None = None
    """Local updates; the batches are those of as many passes as they need."""

    def count(self, images: int, batch_size: int | None) -> int:
        """The local updates that it is for a client with so many images."""
        batches = len(batch_bounds(images, batch_size))
        return sum(passes(batches, epochs=self.epochs, steps=self.steps))


def whole_work(scenario: Scenario) -> Work:
    """What the scenario asks of a client that is not short of time."""
    return Work(epochs=scenario.local_epochs, steps=scenario.local_steps)
