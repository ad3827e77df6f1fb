"""One row being measured: its repetitions as they come in, and the figures they amount to."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from bench.throughput.ceilings import Ceilings
from bench.throughput.counting import Counts
from bench.throughput.request import Setting
from bench.throughput.workbench import RoundTimes, Workbench
from bench.training.execution import Execution


@dataclass(slots=True, kw_only=True)
class Network:
    """A network of the table with what does not depend on the batch."""

    bench: Workbench
    training: Counts
    inference: Counts
    inference_images: int = 0
    """Scored in one repetition."""
    inference_seconds: list[float] = field(default_factory=list)
    """Of each repetition, each at least one evaluation batch."""


@dataclass(slots=True, kw_only=True)
class Row:
    """A setting, what was measured of it, or why it was not."""

    setting: Setting
    network: Network
    remark: str | None = None
    """Why something of the row is missing."""
    failed: bool = False
    """Nothing more is measured of the row."""
    steps: int = 1
    """Of one repetition."""
    execution: Execution | None = None
    """How whole batches were executed; None before the first."""
    step_seconds: float = 0.0
    """Of one step, after the first."""
    training_seconds: list[float] = field(default_factory=list)
    one_thread_seconds: list[float] = field(default_factory=list)
    """The same steps on one thread, where a CPU has several."""
    peak_memory: int | None = None
    peak_memory_kind: str | None = None
    rounds: list[RoundTimes] = field(default_factory=list)
    client_images: int | None = None

    def fail(self, reason: str) -> None:
        """Says why the row has no figures; the others go on."""
        self.failed = True
        self.remark = reason
        self.training_seconds.clear()
        self.one_thread_seconds.clear()
        self.rounds.clear()

    def fail_rounds(self, reason: str) -> None:
        """Says why there is no federated round; the row's other figures stay."""
        self.remark = f"no federated round: {reason}"
        self.rounds.clear()

    def record(self, ceilings: Ceilings) -> dict[str, Any]:
        """The row as it is kept: JSON's types, None where there is no figure."""
        bench = self.network.bench
        execution = self.execution or bench.execution
        return {
            "backbone": self.setting.backbone,
            "image_size": self.setting.image_size,
            "batch": self.setting.batch,
            "precision": bench.precision.name,
            "precision_reason": bench.precision.reason,
            "step": execution.name,
            "step_reason": execution.reason,
            "parameters": bench.parameters,
            **self._training(ceilings),
            **self._inference(ceilings),
            "peak_memory_bytes": self.peak_memory,
            "peak_memory_kind": self.peak_memory_kind,
            **self._federated(),
            "remark": self.remark,
        }

    def _training(self, ceilings: Ceilings) -> dict[str, Any]:
        images = self.steps * self.setting.batch
        rates = [images / seconds for seconds in self.training_seconds]
        counts, batch = self.network.training, self.setting.batch
        speed = _speed("training", rates, counts, batch, ceilings, self._precision)
        alone = [images / seconds for seconds in self.one_thread_seconds]
        return speed | {
            "one_thread_images_per_second": _rounded(statistics.median(alone)) if alone else None
        }

    def _inference(self, ceilings: Ceilings) -> dict[str, Any]:
        network = self.network
        seconds = [] if self.failed else network.inference_seconds
        rates = [network.inference_images / s for s in seconds]
        batch = min(network.bench.evaluation_batch, max(1, network.inference_images))
        speed = _speed("inference", rates, network.inference, batch, ceilings, self._precision)
        return speed | {"inference_batch": batch}

    @property
    def _precision(self) -> str:
        return self.network.bench.precision.name

    def _federated(self) -> dict[str, Any]:
        ratios = [r.federated / r.centralized for r in self.rounds]
        engine = [r.engine for r in self.rounds]
        return {
            "federated_overhead": _rounded(statistics.median(ratios) - 1) if ratios else None,
            "federated_spread": [_rounded(f(ratios) - 1) for f in (min, max)] if ratios else None,
            "federated_engine_seconds": _rounded(statistics.median(engine)) if engine else None,
            "federated_client_images": self.client_images if ratios else None,
        }


def _speed(
    what: str,
    rates: list[float],
    counts: Counts,
    batch: int,
    ceilings: Ceilings,
    precision: str,
) -> dict[str, Any]:
    """Median and spread of the rates, the counts an image, and the share of the roofline.

    The roofline (Williams et al. 2009) is the lower of what the measured FLOP/s and what the
    measured bytes/s allow.
    """
    flops, moved = counts.flops.each(batch), counts.bytes.each(batch)
    arithmetic, memory = ceilings.flops[precision] / flops, ceilings.bytes / moved
    roof = min(arithmetic, memory)
    median = statistics.median(rates) if rates else None
    return {
        f"{what}_images_per_second": None if median is None else _rounded(median),
        f"{what}_spread": [_rounded(min(rates)), _rounded(max(rates))] if rates else None,
        f"{what}_repetitions": len(rates),
        f"{what}_flops": round(flops),
        f"{what}_bytes": round(moved),
        f"{what}_roof": _rounded(roof),
        f"{what}_share": None if median is None else _rounded(median / roof),
        f"{what}_bound": "arithmetic" if arithmetic < memory else "memory",
    }


def _rounded(value: float) -> float:
    """Five significant digits: more would be noise."""
    return float(f"{value:.5g}")
