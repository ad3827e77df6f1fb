"""A fixed piece of work, timed beside the training, that says how fast this machine is just now.

Throughputs measured on rented machines differ by the machine; divided by this figure, taken in the
same minute, they can be compared.
"""

from __future__ import annotations

import statistics
import time
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.device import Precision

BATCH, SIDE, CHANNELS = 8, 32, 64
"""Small enough for ten repetitions in the budget on one core, large enough to fill its units."""
BUDGET_SECONDS = 0.04
MINIMUM_REPETITIONS = 5
MAXIMUM_REPETITIONS = 200


def yardstick(device: torch.device, precision: Precision) -> float:
    """Images a second of a fixed three-layer convolutional network, forward and backward.

    The median over repetitions of about 40 ms in all. Draws nothing from any generator.
    """
    images, weights = _workload(device)
    _repeat(images, weights, precision)
    times: list[float] = []
    end = time.perf_counter() + BUDGET_SECONDS
    while len(times) < MINIMUM_REPETITIONS or (
        time.perf_counter() < end and len(times) < MAXIMUM_REPETITIONS
    ):
        started = time.perf_counter()
        _repeat(images, weights, precision)
        times.append(time.perf_counter() - started)
    return BATCH / statistics.median(times)


@lru_cache(maxsize=2)
def _workload(device: torch.device) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Images and three convolutions' weights, the same numbers everywhere."""

    def fixed(*shape: int) -> Tensor:
        count = torch.Size(shape).numel()
        wave = torch.arange(count, dtype=torch.float32).sin().view(shape) * 0.1
        return wave.to(device).to(memory_format=torch.channels_last)

    sizes = ((CHANNELS, CHANNELS, 1, 1), (CHANNELS, CHANNELS, 3, 3), (CHANNELS, CHANNELS, 1, 1))
    images = fixed(BATCH, CHANNELS, SIDE, SIDE)
    return images, tuple(fixed(*size).requires_grad_() for size in sizes)


def _repeat(images: Tensor, weights: tuple[Tensor, ...], precision: Precision) -> None:
    """One forward and backward pass, waited for."""
    dtype = precision.autocast
    with torch.autocast(images.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        x = images
        for weight in weights:
            x = F.relu(F.conv2d(x, weight, padding=weight.shape[-1] // 2))
        loss = x.float().mean()
    gradients = torch.autograd.grad(loss, weights)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    assert all(g.shape == w.shape for g, w in zip(gradients, weights, strict=True))
