"""The flat vectors hold the module's own tensors: no copy, no gap, channels-last weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.models.flat import FlatModel


class Tiny(nn.Module):
    """A convolution, a batch norm, a tied linear layer, a constant and a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("mask", torch.ones(3), persistent=False)
        self.scale = nn.Parameter(torch.tensor(2.0), requires_grad=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.scale * self.b(self.a(x * self.mask))


@pytest.fixture
def flat():
    torch.manual_seed(0)
    return FlatModel(Tiny(), "cpu")


def test_layout_of_every_vector(flat):
    rows = [(s.name, s.shape, s.start) for s in flat.layout.parameters]
    assert rows == [
        ("conv.weight", (3, 2, 3, 3), 0),
        ("norm.weight", (3,), 54),
        ("norm.bias", (3,), 57),
        ("a.weight", (3, 3), 60),
        ("a.bias", (3,), 69),
    ]
    assert [s.name for s in flat.layout.buffers] == ["norm.running_mean", "norm.running_var"]
    assert [s.name for s in flat.layout.counters] == ["norm.num_batches_tracked"]
    assert flat.layout.sizes == (72, 6, 1)


def test_values_survive_the_move():
    torch.manual_seed(0)
    expected = {k: v.clone() for k, v in Tiny().state_dict().items()}
    torch.manual_seed(0)
    named = FlatModel(Tiny(), "cpu").named_tensors()
    assert named.keys() == expected.keys()
    for name, tensor in named.items():
        assert tensor.is_contiguous()
        assert torch.equal(tensor, expected[name]), name


def test_module_and_vector_are_the_same_memory(flat):
    flat.parameters_flat.copy_(torch.arange(72.0))
    weight = flat.module.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    # element (o, i, h, w) lies at ((o·3 + h)·3 + w)·2 + i
    assert weight[1, 1, 2, 0].item() == ((1 * 3 + 2) * 3 + 0) * 2 + 1
    assert flat.module.a.weight[2, 1].item() == 60 + 7
    assert flat.module.b.weight is flat.module.a.weight
    flat.module.norm.running_var.fill_(5)
    assert flat.buffers_flat.tolist() == [0, 0, 0, 5, 5, 5]


def test_gradients_land_in_the_vector_and_views_stay(flat):
    x = torch.randn(4, 2, 5, 5).contiguous(memory_format=torch.channels_last)
    before = {
        n: (p.data_ptr(), p.grad.data_ptr())
        for n, p in flat.module.named_parameters()
        if p.requires_grad
    }
    reference = Tiny()
    reference.load_state_dict(flat.named_tensors())
    for _ in range(2):
        flat.zero_gradients()
        flat.module(x).square().sum().backward()
    reference(x).square().sum().backward()
    for slot in flat.layout.parameters:
        mine = slot.view(flat.gradients_flat)
        torch.testing.assert_close(mine, reference.get_parameter(slot.name).grad)
        parameter = flat.module.get_parameter(slot.name)
        assert (parameter.data_ptr(), parameter.grad.data_ptr()) == before[slot.name]


def test_running_statistics_land_in_the_vector(flat):
    x = torch.randn(4, 2, 5, 5)
    reference = Tiny()
    reference.load_state_dict(flat.named_tensors())
    flat.module(x)
    flat.count_steps(1)
    reference(x)
    named = flat.named_tensors()
    torch.testing.assert_close(named["norm.running_var"], reference.norm.running_var)
    assert named["norm.num_batches_tracked"] == reference.norm.num_batches_tracked == 1


def test_copies_bring_the_model_back_counters_and_all(flat):
    flat.count_steps(4)
    before = flat.named_tensors()
    kept = flat.copies()
    for vector in flat.vectors.values():
        vector.fill_(9)
    flat.restore({**kept, "optimizer/steps": torch.ones(1)})
    after = flat.named_tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert after["norm.num_batches_tracked"] == 4


def test_the_first_tensor_that_is_not_finite_is_named(flat):
    assert flat.first_non_finite() is None
    flat.module.norm.running_var[1] = float("inf")
    assert flat.first_non_finite() == "norm.running_var"
    flat.module.a.bias.data[0] = float("nan")
    assert flat.first_non_finite() == "a.bias"


def test_a_network_without_batch_norm_has_empty_vectors():
    flat = FlatModel(nn.Linear(2, 2), "cpu")
    assert flat.buffers_flat.shape == (0,)
    assert flat.counters_flat.shape == (0,)
    flat.count_steps(3)
    assert flat.first_non_finite() is None
