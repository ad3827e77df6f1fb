"""The device a suite runs on, opened once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from bench.runs.crew import ALONE_HERE, Place

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
    """Of this process, and of each that shares its work."""
    asked: bool = False
    """Whether that number of threads was asked for."""
    workers: int = 1
    """The processes that share a scenario's work."""
    place: Place = ALONE_HERE
    """Where this process stands among those of the command."""

    @staticmethod
    def open(
        asked: str, *, threads: int | None = None, place: Place = ALONE_HERE, team: int = 1
    ) -> Hardware:
        """``auto``, ``cpu``, ``cuda`` or ``cuda:N``; sets this process's threads.

        ``place`` is this process's among the ``team``. Under torchrun each takes a GPU of its own,
        or where there are too few its turn on one. Raises UsageError where there is no such device,
        or where it is a GPU and ``--workers`` are to share a CPU.
        """
        from bench.training.device import choose_threads, prepare, resolve_device

        device = _own_gpu(resolve_device(asked), asked, place)
        count = prepare(device, threads or choose_threads(place.processes))
        asked_for = threads is not None
        return Hardware(device=device, threads=count, asked=asked_for, workers=team, place=place)

    def with_threads(self, threads: int) -> Hardware:
        """The same with another number of threads, which this process has from now on."""
        from bench.training.device import prepare

        return replace(self, threads=prepare(self.device, threads))

    def alone(self) -> Hardware | None:
        """With the threads that this process would have if it were the only one; None where those
        are no more: on a GPU, under torchrun, or where their number was asked for."""
        from bench.training.device import choose_threads

        if self.device.type != "cpu" or self.place.torchrun or self.asked:
            return None
        threads = choose_threads()
        return replace(self, threads=threads, workers=1) if threads > self.threads else None

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
            "workers": self.workers,
        }


def _own_gpu(device: torch.device, asked: str, place: Place) -> torch.device:
    """The GPU that this one of several processes is to use."""
    import torch

    if device.type == "cpu" or place.processes == 1:
        return device
    if not place.torchrun:
        raise UsageError(
            "--workers share the cores of a CPU, not a GPU",
            expected="--device cpu, or one process",
            found=f"--workers {place.processes} on {device}",
            mend="--device cpu; for several GPUs: torchrun --nproc-per-node N -m bench run …",
        )
    if ":" in asked:
        raise UsageError(
            "under torchrun every process takes a GPU of its own",
            expected="--device cuda or --device auto",
            found=f"--device {asked}",
            mend="choose GPUs with $CUDA_VISIBLE_DEVICES",
        )
    own = torch.device("cuda", place.number % torch.cuda.device_count())
    torch.cuda.set_device(own)
    return own
