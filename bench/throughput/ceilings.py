"""What the device can do at most: arithmetic of one large operation, bytes of a large copy.

On a CPU products and convolutions come from libraries of their own, MKL and oneDNN, of which either
may be the faster: on an AMD EPYC convolutions in fp32 reach twice the rate of products.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bench.throughput.memory import available_bytes
from bench.training.device import Precision

LONG_ENOUGH = 0.02
"""Seconds of a matrix product beside which starting it is nothing."""
SIDES = {"cpu": (256, 4096), "cuda": (1024, 16384)}
"""The first and the largest side of the square matrices; doubled until the product is long."""
CONVOLUTION = (16, 128, 28)
"""Images, channels in and out, and sides of a 3×3 convolution that is limited by arithmetic."""
ARRAY_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Of each of the two arrays that are copied: together more than any cache keeps."""
MEMORY_SHARE = 8
"""An array takes at most this fraction (one eighth) of the memory that is free."""
REPETITIONS = 5
COPY_PASSES, TRIAD_PASSES = 2, 3
"""Arrays read or written: b ← a; a ← a + s·b (McCalpin's STREAM counts alike)."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The best of all repetitions: a ceiling is what was once reached."""

    flops: dict[str, float]
    """FLOP/s by precision's name."""
    bytes: float
    """Bytes/s, read and written."""

    def joined(self, other: Ceilings) -> Ceilings:
        """The higher of each: those measured before and after the work."""
        flops = {name: max(value, other.flops[name]) for name, value in self.flops.items()}
        return Ceilings(flops, max(self.bytes, other.bytes))


def ceilings(device: torch.device, precisions: list[Precision]) -> Ceilings:
    """Measured now, in a second or two."""
    dtypes = {p.name: p.autocast or torch.float32 for p in precisions}
    flops = {name: arithmetic_rate(device, dtype) for name, dtype in dtypes.items()}
    return Ceilings(flops, copy_rate(device))


def arithmetic_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a product or, on a CPU, of a convolution, whichever is faster."""
    product = matmul_rate(device, dtype)
    return max(product, convolution_rate(dtype)) if device.type == "cpu" else product


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of n×n matrices, a multiply-add counted as two, for an n that takes long enough."""
    side, most = SIDES[device.type]
    while True:
        a = torch.full((side, side), 0.5, device=device, dtype=dtype)
        b = torch.full((side, side), 0.25, device=device, dtype=dtype)
        out = torch.empty_like(a)
        seconds = best_seconds(lambda: torch.mm(a, b, out=out), device, 2)  # noqa: B023 - runs now
        if seconds >= LONG_ENOUGH or side >= most:
            break
        side *= 2
    seconds = min(seconds, best_seconds(lambda: torch.mm(a, b, out=out), device, REPETITIONS))
    return 2 * side**3 / seconds


def convolution_rate(dtype: torch.dtype) -> float:
    """FLOP/s of a CPU's 3×3 convolution in channels-last memory, counted likewise."""
    n, channels, side = CONVOLUTION
    last = torch.channels_last
    images = torch.full((n, channels, side, side), 0.5, dtype=dtype).to(memory_format=last)
    weights = torch.full((channels, channels, 3, 3), 0.25, dtype=dtype).to(memory_format=last)
    with torch.inference_mode():
        seconds = best_seconds(
            lambda: F.conv2d(images, weights), torch.device("cpu"), 2 * REPETITIONS
        )
    return 2 * 9 * channels**2 * n * (side - 2) ** 2 / seconds


def copy_rate(device: torch.device) -> float:
    """Bytes/s of a copy or of a triad, whichever is faster."""
    size = min(ARRAY_BYTES[device.type], available_bytes(device) // MEMORY_SHARE)
    a = torch.zeros(size // 4, device=device)
    b = torch.ones_like(a)
    size = a.numel() * 4
    copying = best_seconds(lambda: b.copy_(a), device, REPETITIONS)
    adding = best_seconds(lambda: a.add_(b, alpha=0.5), device, REPETITIONS)
    return max(COPY_PASSES * size / copying, TRIAD_PASSES * size / adding)


def best_seconds(work: Callable[[], object], device: torch.device, repetitions: int) -> float:
    """The shortest of so many, after one that is not counted."""
    work()
    synchronize(device)
    best = float("inf")
    for _ in range(repetitions):
        started = time.perf_counter()
        work()
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best


def synchronize(device: torch.device) -> None:
    """Waits for a GPU; a CPU is always done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
