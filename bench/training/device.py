"""Where a run computes, in which precision and with how many threads: chosen, and with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from bench.environment import check_device_name, granted_cores
from bench.errors import UsageError
from bench.memory import keep_freed_memory
from bench.models.mcmahan import NETWORKS

BF16_CAPABILITY = (8, 0)
"""The first CUDA compute capability with bf16 matrix units (Ampere)."""
BF16_CPU_FEATURES = ("amx_bf16", "avx512_bf16")
"""Instructions that multiply bf16 natively; without them oneDNN emulates it, slower than fp32."""
SMALL_NETWORKS = tuple(NETWORKS)
"""Networks whose layers are so small that conversions to bf16 cost about as much as they save: with
batches of 10 nothing is gained. With 50 the CNN would gain; it stays as it was published."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The number format of convolutions and matrix products; weights are always kept in fp32."""

    name: str
    """``fp32`` or ``bf16``."""
    reason: str
    """Why, for people."""

    @property
    def autocast(self) -> torch.dtype | None:
        """The type autocast converts to; None for fp32, where it is not used."""
        return torch.bfloat16 if self.name == "bf16" else None


def resolve_device(asked: str = "auto") -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises UsageError for another word or a GPU that is not there.
    """
    check_device_name(asked)
    if asked == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, number = asked.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    index, present = int(number or 0), torch.cuda.device_count()
    if index >= present:
        raise UsageError(
            f"there is no device '{asked}'",
            found=f"{present} CUDA devices",
            mend="leave --device out, or say --device cpu",
        )
    return torch.device("cuda", index)


def resolve_precision(asked: str, device: torch.device, backbone: str | None = None) -> Precision:
    """``fp32``, ``bf16``, or for ``auto`` bf16 where ``device`` computes it natively and the
    backbone is large enough to gain by it."""
    if asked != "auto":
        assert asked in ("fp32", "bf16"), f"unknown precision {asked}"
        return Precision(asked, "asked for")
    if backbone in SMALL_NETWORKS:
        return Precision("fp32", f"{backbone} is small, and gains by bf16 in large batches only")
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        text = f"compute capability {capability[0]}.{capability[1]}"
        if capability >= BF16_CAPABILITY:
            return Precision("bf16", f"{text} has bf16 matrix units")
        return Precision("fp32", f"{text} has no bf16 matrix units")
    native = [name for name in BF16_CPU_FEATURES if cpu_features().get(name)]
    if native:
        return Precision("bf16", f"the processor has {native[0]}")
    return Precision("fp32", "torch reports no bf16 instructions of the processor")


def cpu_features() -> dict[str, bool]:
    """The processor's instruction sets by name, as torch detects them; empty where it does not."""
    return {name: value for name, value in _capabilities().items() if isinstance(value, bool)}


def _capabilities() -> dict[str, Any]:
    detect = getattr(torch.cpu, "get_capabilities", None)
    return dict(detect()) if detect is not None else {}


def device_name(device: torch.device) -> str | None:
    """The GPU's name, or None on a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def choose_threads(processes: int = 1) -> int:
    """Threads for one of the processes that have the machine: ``$OMP_NUM_THREADS`` where set, else
    an equal part of the physical cores they may use (hyper-threads share the units that
    convolutions fill), within the container's quota."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    granted = granted_cores()
    physical = int(_capabilities().get("num_physical_cores") or granted)
    return max(1, min(physical, granted) // processes)


def prepare(device: torch.device, threads: int | None = None) -> int:
    """Sets the process up for training, before any tensor work, and returns the threads in use.

    Denormal numbers are flushed to zero: Adam's first moment decays into them wherever a gradient
    stays zero, and arithmetic on them takes ten times as long. fp32 on a GPU means fp32, so
    TF32 is off. The GPU becomes the process's own, whose generator ``manual_seed`` seeds.
    """
    count = threads or choose_threads()
    keep_freed_memory()
    torch.set_flush_denormal(True)
    torch.set_num_threads(count)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return count


@contextmanager
def at_most_threads(count: int | None) -> Iterator[None]:
    """Tensor work inside uses no more threads than that; None sets no limit."""
    had = torch.get_num_threads()
    if count is None or count >= had:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(had)
