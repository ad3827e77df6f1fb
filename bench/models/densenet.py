"""DenseNet-BC of Huang et al. 2017, *Densely Connected Convolutional Networks* (CVPR), table 1.

timm has these networks too, but importing it takes longer than importing torch, and that is what a
person waits for at every start of the default backbone. So they stand here: the same names, the
same draws at the same seed and the same bits as timm's ``densenet121`` and its kin.

``densenet-tiny`` is of the same kind but bench's own: neither the paper nor timm has it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BOTTLENECK = 4
"""A layer's 1×1 convolution gives so many times the growth rate of channels."""


@dataclass(frozen=True, slots=True)
class Depth:
    """What tells one network of the family from another, as a column of the paper's table 1."""

    growth: int
    """Channels that each layer adds, k."""
    layers: tuple[int, ...]
    """Of each block."""


PAPERS = {
    "densenet121": Depth(32, (6, 12, 24, 16)),
    "densenet169": Depth(32, (6, 12, 32, 32)),
    "densenet201": Depth(32, (6, 12, 48, 32)),
    "densenet161": Depth(48, (6, 12, 36, 24)),
}
"""The paper's, which timm has too, with published weights."""
TINY = {"densenet-tiny": Depth(8, (2, 2))}
"""Not in the paper: 14,000 parameters, for trials and tests."""
DEPTHS = PAPERS | TINY


class Layer(nn.Module):
    """(n, c, h, w) of all layers before it → (n, k, h, w)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        narrow = self.conv1(F.relu(self.norm1(maps), inplace=True))
        return self.conv2(F.relu(self.norm2(narrow), inplace=True))


class Block(nn.Module):
    """(n, c, h, w) → (n, c + layers·k, h, w): what came in, and what each layer adds."""

    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        for number in range(layers):
            self.add_module(f"denselayer{number + 1}", Layer(channels + number * growth, growth))

    def forward(self, maps: Tensor) -> Tensor:
        found = [maps]
        for layer in self.children():
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


class DenseNet(nn.Module):
    """(n, in_channels, h, w) → (n, outputs) logits; h and w of 32 and more.

    Convolutions begin as in He et al. 2015 (normal, by fan-in), biases at zero.
    """

    def __init__(self, depth: Depth, outputs: int, in_channels: int) -> None:
        super().__init__()
        growth, channels = depth.growth, 2 * depth.growth
        stem = {
            "conv0": nn.Conv2d(in_channels, channels, 7, stride=2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(channels),
            "relu0": nn.ReLU(inplace=True),
            "pool0": nn.MaxPool2d(3, stride=2, padding=1),
        }
        self.features = nn.Sequential(OrderedDict(stem))
        for number, layers in enumerate(depth.layers, start=1):
            if number > 1:
                self.features.add_module(f"transition{number - 1}", _transition(channels))
                channels //= 2
            self.features.add_module(f"denseblock{number}", Block(channels, growth, layers))
            channels += layers * growth
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.features.add_module("relu5", nn.ReLU(inplace=True))
        self.classifier = nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(F.adaptive_avg_pool2d(self.features(images), 1).flatten(1))


def _transition(channels: int) -> nn.Sequential:
    """(n, c, h, w) → (n, c/2, h/2, w/2)."""
    parts = {
        "norm": nn.BatchNorm2d(channels),
        "relu": nn.ReLU(inplace=True),
        "conv": nn.Conv2d(channels, channels // 2, 1, bias=False),
        "pool": nn.AvgPool2d(2),
    }
    return nn.Sequential(OrderedDict(parts))
