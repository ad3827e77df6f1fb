"""The two networks of McMahan et al. 2017 in plain PyTorch, for the peers that take a module."""

from __future__ import annotations

from torch import nn


def network(name: str) -> nn.Module:
    """(n, 1, 28, 28) fp32 → (n, 10) logits; 199,210 or 1,663,370 parameters."""
    if name == "2nn":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 200),
            nn.ReLU(),
            nn.Linear(200, 200),
            nn.ReLU(),
            nn.Linear(200, 10),
        )
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )
