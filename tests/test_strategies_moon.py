"""MOON's gradient, put in where the features are, is that of the loss written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bench.federation.strategies.contrast import Teachers, contrast, last_layer
from bench.models.flat import FlatModel
from bench.verify.federations import Bench, SmallNetwork, trained


def test_the_contrast_by_hand():
    """z along x, the global features too, the last ones across: cosines 1 and 0, τ = ½:
    -log(e² / (e² + 1)) = log(1 + e⁻²)."""
    z = torch.tensor([[3.0, 0.0]])
    found = contrast(z, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 0.5)
    assert found.item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)


def test_the_gradient_is_that_of_the_whole_loss():
    torch.manual_seed(0)
    flat = FlatModel(SmallNetwork(), "cpu")
    flat.module.train()
    start, previous = flat.parameters_flat + 0.3, flat.parameters_flat - 0.2
    images, goal = torch.randn(6, 1, 8, 8), torch.randn(6, 2)

    def features(parameters: torch.Tensor | None) -> torch.Tensor:
        """Written out from the network's layers, batch statistics included."""
        values = flat.parameters_flat if parameters is None else parameters
        w = {s.name: s.view(values) for s in flat.layout.parameters}
        x = nn.functional.conv2d(images, w["convolution.weight"], padding=1)
        x = nn.functional.batch_norm(x, None, None, w["norm.weight"], w["norm.bias"], training=True)
        return torch.relu(x).mean((2, 3))

    free = flat.parameters_flat.clone().requires_grad_()
    w = {s.name: s.view(free) for s in flat.layout.parameters}
    z = features(free)
    logits = nn.functional.linear(z, w["classifier.weight"], w["classifier.bias"])
    task = (logits - goal).square().mean()
    whole = task + 2.0 * contrast(z, features(start), features(previous), 0.5)
    (expected,) = torch.autograd.grad(whole, free)

    before = flat.buffers_flat.clone()
    with Teachers(flat, (start, previous), 2.0, 0.5).watching():
        loss = (flat.module(images) - goal).square().mean()
        loss.backward()
    assert loss.item() == pytest.approx(task.item(), abs=1e-6)
    torch.testing.assert_close(flat.gradients_flat, expected, rtol=1e-4, atol=1e-6)
    after_one_batch = flat.buffers_flat.clone()
    flat.buffers_flat.copy_(before)
    flat.module(images)
    assert torch.equal(flat.buffers_flat, after_one_batch), "teachers leave no trace"
    assert not flat.module._forward_pre_hooks, "the hooks are gone"


def test_the_last_layer_is_the_classifier():
    network = SmallNetwork()
    assert last_layer(network) is network.classifier


def test_the_first_visit_is_fedavgs_and_the_second_is_not(tmp_path):
    bench = Bench(torch.device("cpu"), tmp_path)

    def ends(name: str, rounds: int) -> torch.Tensor:
        federation = bench.federation(name)
        trained(federation, rounds)
        return federation.parameters

    one_step = {"local_epochs": 1, "batch_size": None}
    first = bench.federation("moon", **one_step)
    plain = bench.federation("fedavg", **one_step)
    trained(first, 1), trained(plain, 1)
    torch.testing.assert_close(first.parameters, plain.parameters, rtol=0, atol=1e-6)
    assert (ends("moon", 2) - ends("fedavg", 2)).abs().max() > 1e-5
