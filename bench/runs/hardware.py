"""The device a suite runs on, opened once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from bench.suites.scenario import Scenario
    from bench.training.device import Precision
    from bench.training.execution import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A device that is ready to train."""

    device: torch.device
    threads: int

    @staticmethod
    def open(asked: str) -> Hardware:
        """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; sets this process's threads.

        Raises UsageError where there is no such device.
        """
        from bench.training.device import prepare, resolve_device

        device = resolve_device(asked)
        return Hardware(device=device, threads=prepare(device))

    def precision(self, scenario: Scenario) -> Precision:
        """What the scenario's ``precision`` comes to on this device."""
        from bench.training.device import resolve_precision

        return resolve_precision(scenario.precision, self.device, scenario.backbone)

    def execution(self, scenario: Scenario, images: int) -> Execution:
        """How the steps of a scenario with ``images`` training images are to be executed."""
        from bench.runs.plan import training_images
        from bench.training.execution import resolve_execution

        return resolve_execution(
            scenario.compile,
            self.device,
            scenario.backbone,
            images=training_images(scenario, images),
            side=scenario.image_size,
        )

    def record(self, scenario: Scenario) -> dict[str, Any]:
        """What run.json keeps of the environment: machine, versions, and what was chosen."""
        from bench.environment import machine, versions
        from bench.training.device import device_name

        precision = self.precision(scenario)
        return {
            "machine": machine(device_name(self.device)),
            "versions": versions(),
            "device": self.device.type,
            "precision": precision.name,
            "precision_reason": precision.reason,
            "threads": self.threads,
        }
