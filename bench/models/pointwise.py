"""1×1 convolutions as the matrix products that they are, where a CPU takes them faster so.

Half of DenseNet121's convolutions are 1×1. In channels-last memory such a convolution is one
product of the pixels, (n·h·w, i), and the weights, (i, o). oneDNN's convolutions first bring the
weights into an order of their own, forward and twice backward, which for small maps takes longer
than the arithmetic. Forward and backward of 512 channels to 128, sixteen images, on two cores of an
Intel Xeon with AMX: the product is 2.3 to 4.6 times as fast on maps of 1×1 and 1.4 to 2.2 times at
4×4; at 10×10 1.4 times in bf16 and 1.1 in fp32; at 40×40 1.5 times in bf16.

Products in fp32 are MKL's, which on AMD's processors reaches half of oneDNN's rate: on an EPYC of
Zen 5 they are 2.3 times as fast at 1×1 and 1.2 times at 2×2, but half as fast from 10×10 on. In
bf16, where both are oneDNN's, they are 3.4 times as fast at 1×1, 1.8 at 4×4, as fast at 10×10 and
0.85 times at 20×20. All of DenseNet121 in bf16 at 32 px: 1.15 to 1.2 times as fast on the Xeon,
1.13 on the EPYC (``tests/benchmarks/test_training_speed.py``). Processors that are neither were not
measured, and are treated as AMD's.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.environment import made_by_intel


class Pointwise(nn.Conv2d):
    """A 1×1 convolution of stride 1; the same to rounding, and on a GPU to the bit."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, i, h, w) → (n, o, h, w), channels-last where the product is taken."""
        if not _as_product(input):
            return super().forward(input)
        pixels = input.permute(0, 2, 3, 1)
        return F.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def use_products(module: nn.Module) -> None:
    """Makes every 1×1 convolution inside ``module`` a :class:`Pointwise`, in place.

    Parameters, names and hooks stay. Those with a stride, padding or groups stay too, and so do
    subclasses, whose ``forward`` may do anything.
    """
    for child in module.modules():
        if type(child) is nn.Conv2d and _is_pointwise(child):
            child.__class__ = Pointwise


def _is_pointwise(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (1, 1)
        and layer.stride == (1, 1)
        and layer.padding in ((0, 0), "same", "valid")
        and layer.groups == 1
    )


def _as_product(input: Tensor) -> bool:
    if input.device.type != "cpu" or input.dim() != 4:
        return False
    if not input.is_contiguous(memory_format=torch.channels_last):
        return False  # it would have to be copied
    n, _, height, width = input.shape
    return n * height * width <= most_pixels(input.dtype)


@functools.cache
def most_pixels(dtype: torch.dtype) -> float:
    """n·h·w of a batch up to which products are the faster way on this processor."""
    if made_by_intel():
        return math.inf if dtype == torch.bfloat16 else 4096
    return 1024 if dtype == torch.bfloat16 else 64
