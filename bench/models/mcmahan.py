"""The two MNIST networks of McMahan et al. 2017, *Communication-Efficient Learning of Deep Networks
from Decentralized Data* (AISTATS), section 3.

Both take (n, 1, 28, 28) float32 images and return (n, outputs) logits. With ten outputs the paper's
parameter counts are asserted, because networks of the same description and another padding exist
(the unpadded CNN has 582,026).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

SIDE = 28
"""MNIST's side in pixels; the widths below are the paper's for this side only."""
PARAMETERS = {"2nn": 199_210, "mcmahan-cnn": 1_663_370}
"""Trainable parameters with ten outputs, as the paper states them."""


class TwoLayerPerceptron(nn.Sequential):
    """The paper's 2NN: 784-200-200-outputs with ReLU. (n, 1, 28, 28) → (n, outputs) logits.

    A plain sequence of layers, which the training step can see through.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden1 = nn.Linear(SIDE * SIDE, 200)
        self.relu1 = nn.ReLU()
        self.hidden2 = nn.Linear(200, 200)
        self.relu2 = nn.ReLU()
        self.classifier = nn.Linear(200, outputs)


class ConvolutionalNetwork(nn.Sequential):
    """The paper's CNN: two 5×5 *same* convolutions (32, 64), each 2×2 max-pooled, 512, outputs.
    (n, 1, 28, 28) → (n, outputs) logits.

    ReLU follows the pooling: it does not change the order of values, so that the result is the same
    and it has a quarter of them to look at.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.pool1 = nn.MaxPool2d(2)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.pool2 = nn.MaxPool2d(2)
        self.relu2 = nn.ReLU()
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(64 * (SIDE // 4) ** 2, 512)
        self.relu3 = nn.ReLU()
        self.classifier = nn.Linear(512, outputs)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "2nn": TwoLayerPerceptron,
    "mcmahan-cnn": ConvolutionalNetwork,
}


def network(name: str, outputs: int) -> nn.Module:
    """``2nn`` or ``mcmahan-cnn`` with torch's default initialisation, from the global generator."""
    module = NETWORKS[name](outputs)
    if outputs == 10:
        count = sum(p.numel() for p in module.parameters())
        assert count == PARAMETERS[name], f"{name} has {count} parameters"
    return module
