"""What ``bench check`` holds a suite's runs to: the ``gates`` block of a suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LEAST_SAMPLES = 6
"""Rounds a side: with six, the least two-sided p of a rank-sum test is 2 / C(12, 6) = 0.002."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AurocGate:
    """A drop fails if it is larger than ``tolerance`` and significant at ``alpha``."""

    tolerance: float = 0.01
    """AUROC, on its scale from 0 to 1."""
    alpha: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputGate:
    """A slowdown fails if it is larger than ``tolerance`` and significant at ``alpha``."""

    tolerance: float = 0.10
    """Share of the reference's images per second."""
    alpha: float = 0.05
    minimum_samples: int = LEAST_SAMPLES
    """Rounds a side; with fewer the gate is inconclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The thresholds of every metric that is gated."""

    auroc: AurocGate = AurocGate()
    throughput: ThroughputGate = ThroughputGate()


_Alpha = Annotated[float, Field(gt=0, lt=1, description="Level of the significance test.")]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AurocBlock(_Block):
    """``gates.auroc`` as written."""

    tolerance: Annotated[float, Field(ge=0, le=1, description="The largest drop that passes.")] = (
        AurocGate().tolerance
    )
    alpha: _Alpha = AurocGate().alpha


class ThroughputBlock(_Block):
    """``gates.throughput`` as written."""

    tolerance: Annotated[
        float, Field(ge=0, lt=1, description="The largest slowdown that passes, as a share.")
    ] = ThroughputGate().tolerance
    alpha: _Alpha = ThroughputGate().alpha
    minimum_samples: Annotated[
        int, Field(ge=LEAST_SAMPLES, description="Rounds a side that a verdict needs.")
    ] = ThroughputGate().minimum_samples


class GatesBlock(_Block):
    """``gates`` as written."""

    auroc: AurocBlock = AurocBlock()
    throughput: ThroughputBlock = ThroughputBlock()

    def gates(self) -> Gates:
        """The block as plain values."""
        return Gates(
            auroc=AurocGate(**self.auroc.model_dump()),
            throughput=ThroughputGate(**self.throughput.model_dump()),
        )
