"""The written-out step of a network that ends in linear layers, against autograd."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.suites.choice import Choice
from bench.training.dense import DenseStep, ending
from bench.training.device import Precision
from bench.training.optimizers import optimizer_for
from bench.training.step import AutogradStep, step_for
from bench.training.tasks import DigitTask, ObservationTask

FP32 = Precision("fp32", "test")
SGD = Choice("sgd", (("lr", 0.1),))
MOMENTUM = Choice("sgd", (("lr", 0.1), ("momentum", 0.9)))
ADAM = Choice("adam", (("lr", 0.01),))
SIDE = 3
U_ONES, U_IGNORE, U_MULTICLASS = "u-ones", "u-ignore", "u-multiclass"


def layers(*widths: int, seed: int = 0) -> nn.Sequential:
    """Flatten, then linear layers between ReLUs: 9 inputs, ``widths``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules: list[nn.Module] = [nn.Flatten()]
        for width, above in zip((SIDE**2, *widths), widths, strict=False):
            modules += [nn.Linear(width, above), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def batch(size: int, outputs: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(size, SIDE, SIDE, 1, generator=generator).permute(0, 3, 1, 2)
    return images, torch.randint(0, outputs, (size,), generator=generator)


def both(
    network: nn.Module, task, choice: Choice
) -> tuple[FlatModel, DenseStep, FlatModel, AutogradStep]:
    mine, theirs = FlatModel(copy.deepcopy(network), "cpu"), FlatModel(network, "cpu")
    return (
        mine,
        DenseStep(mine, task, optimizer_for(choice, mine.parameters_flat)),
        theirs,
        AutogradStep(theirs, task, optimizer_for(choice, theirs.parameters_flat), None),
    )


NETWORKS_AND_BATCHES = {
    "hidden": st.lists(st.integers(1, 40), max_size=3),
    "outputs": st.integers(2, 10),
    "size": st.integers(1, 17),
    "seed": st.integers(0, 2**20),
}


@settings(deadline=None, max_examples=30)
@given(**NETWORKS_AND_BATCHES, choice=st.sampled_from([SGD, MOMENTUM, ADAM]))
def test_trains_as_autograd_does(hidden, outputs, size, seed, choice):
    network = layers(*hidden, outputs, seed=seed)
    mine, dense, theirs, autograd = both(network, DigitTask(), choice)
    for number in range(3):
        data = batch(size, outputs, seed + number)
        torch.testing.assert_close(dense(*data), autograd(*data), rtol=1e-5, atol=1e-6)
    # Adam divides by the root of the second moment, which for a gradient near 0 is all rounding
    rtol, atol = (1e-3, 2e-3) if choice is ADAM else (1e-5, 1e-6)
    torch.testing.assert_close(mine.parameters_flat, theirs.parameters_flat, rtol=rtol, atol=atol)


@settings(deadline=None, max_examples=30)
@given(**NETWORKS_AND_BATCHES)
def test_the_gradient_is_autograds_in_double_precision(hidden, outputs, size, seed):
    network = layers(*hidden, outputs, seed=seed)
    images, targets = batch(size, outputs, seed)
    exact = copy.deepcopy(network).double()
    loss = F.cross_entropy(exact(images.double()), targets)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(exact.parameters()))])
    flat = FlatModel(network, "cpu")
    seen = []
    DenseStep(flat, DigitTask(), optimizer_for(SGD, flat.parameters_flat))(
        images, targets, lambda parameters, gradients: seen.append(gradients.clone())
    )
    torch.testing.assert_close(seen[0].double(), expected, rtol=1e-4, atol=1e-6)


def test_a_step_by_hand():
    """One image (1, 2): hidden 2·1 + 2·2 = 6, logits (6 - 6, -6 + 6), so each has probability ½.

    δ = (-½, ½) at the logits and -½·1 + ½·(-1) = -1 at the hidden unit.
    """
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2))
    flat = FlatModel(network, "cpu")
    flat.parameters_flat.copy_(torch.tensor([2.0, 2, 0, 1, -1, -6, 6]))
    step = DenseStep(flat, DigitTask(), optimizer_for(SGD, flat.parameters_flat))
    loss = step(torch.tensor([1.0, 2.0]).view(1, 1, 1, 2), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(2))
    expected = torch.tensor([2.1, 2.2, 0.1, 1.3, -1.3, -5.95, 5.95])
    torch.testing.assert_close(flat.parameters_flat, expected)


@pytest.mark.parametrize(
    "policies", [(U_ONES,) * 2, (U_IGNORE, U_ONES), (U_MULTICLASS,) * 2, (U_IGNORE, U_MULTICLASS)]
)
@pytest.mark.parametrize("choice", [SGD, ADAM], ids=["sgd", "adam"])
def test_observations_under_every_kind_of_policy(policies, choice):
    task = ObservationTask(policies)
    labels = torch.tensor([[1.0, 0.0], [-1.0, -1.0], [0.0, float("nan")], [0.0, 1.0]])
    targets = task.targets(labels.numpy(), 0)
    mine, dense, theirs, autograd = both(layers(8, task.outputs), task, choice)
    images, _ = batch(4, 2)
    for _ in range(3):
        torch.testing.assert_close(dense(images, targets), autograd(images, targets))
    torch.testing.assert_close(mine.parameters_flat, theirs.parameters_flat, rtol=1e-4, atol=1e-5)


def convolutions(*, norm: bool) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body: list[nn.Module] = [nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4) if norm else nn.ReLU()]
        return nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("norm", [False, True], ids=["convolution", "batch norm"])
@pytest.mark.parametrize("choice", [SGD, MOMENTUM], ids=["sgd", "momentum"])
def test_what_comes_before_the_linear_layers_is_trained_too(norm, choice):
    mine, dense, theirs, autograd = both(convolutions(norm=norm), DigitTask(), choice)
    for number in range(3):
        data = batch(6, 3, number)
        torch.testing.assert_close(dense(*data), autograd(*data))
    torch.testing.assert_close(mine.parameters_flat, theirs.parameters_flat)
    torch.testing.assert_close(mine.buffers_flat, theirs.buffers_flat)
    torch.testing.assert_close(dense.forward(data[0]), autograd.forward(data[0]))


def test_the_cnn_trains_as_by_autograd():
    network = build("mcmahan-cnn", outputs=10, image_size=28, seed=0)
    mine, dense, theirs, autograd = both(network, DigitTask(), SGD)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(10, 28, 28, 1, generator=generator).permute(0, 3, 1, 2)
    for _ in range(3):
        torch.testing.assert_close(
            dense(images, torch.arange(10)), autograd(images, torch.arange(10))
        )
    torch.testing.assert_close(mine.parameters_flat, theirs.parameters_flat, rtol=1e-4, atol=1e-6)


def test_a_hook_sees_and_changes_the_gradient():
    mine, dense, theirs, autograd = both(layers(5, 3), DigitTask(), SGD)

    def halve(parameters: torch.Tensor, gradients: torch.Tensor) -> None:
        gradients.mul_(0.5)

    images, targets = batch(4, 3)
    before = mine.parameters_flat.clone()
    dense(images, targets, halve)
    autograd(images, targets, halve)
    torch.testing.assert_close(mine.parameters_flat, theirs.parameters_flat)
    torch.testing.assert_close(before - mine.parameters_flat, 0.1 * mine.gradients_flat)


def test_a_changed_learning_rate_counts():
    network = layers(5, 3)
    flat = FlatModel(network, "cpu")
    optimizer = optimizer_for(SGD, flat.parameters_flat)
    step = DenseStep(flat, DigitTask(), optimizer)
    optimizer.lr = 0.0
    before = flat.parameters_flat.clone()
    step(*batch(4, 3))
    assert torch.equal(flat.parameters_flat, before)


@pytest.mark.parametrize("place", ["network", "layer"])
def test_hooks_of_modules_are_heeded(place):
    """MOON adds to the gradient of what enters the last layer, by hooks set for one training."""
    network = layers(5, 3)
    mine, dense, theirs, autograd = both(network, DigitTask(), SGD)
    calls = []
    module = mine.module if place == "network" else mine.module[3]
    handle = module.register_forward_pre_hook(lambda module, inputs: calls.append(inputs))
    data = batch(4, 3)
    dense(*data)
    autograd(*data)
    assert len(calls) == 1
    assert torch.equal(mine.parameters_flat, theirs.parameters_flat)
    handle.remove()
    dense(*data)
    assert len(calls) == 1


class Doubling(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


class OddLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) ** 2


def frozen() -> nn.Module:
    network = layers(5, 3)
    network[1].bias.requires_grad_(False)
    return network


def tied() -> nn.Module:
    network = layers(9, 9, 3)
    network[3] = network[1]
    return network


def own_parameter() -> nn.Module:
    network = layers(5, 3)
    network.register_parameter("scale", nn.Parameter(torch.ones(1)))
    return network


@pytest.mark.parametrize(
    "other",
    [
        lambda: Doubling(*layers(5, 3)),
        lambda: nn.Sequential(nn.Flatten(), OddLinear(9, 3)),
        lambda: nn.Sequential(nn.Flatten(2), nn.Linear(9, 3)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3), nn.ReLU()),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 3, bias=False)),
        lambda: nn.Sequential(nn.Flatten()),
        frozen,
        tied,
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 1)),
        lambda: build("densenet-tiny", outputs=3, image_size=32, seed=0),
        own_parameter,
    ],
    ids=[
        "own forward", "own linear", "flatten 2", "tanh", "relu last", "no bias", "nothing",
        "frozen", "tied", "no flatten", "densenet", "own parameter",
    ],
)  # fmt: skip
def test_other_networks_are_left_to_autograd(other):
    assert ending(other()) is None


def test_the_factory_goes_by_structure():
    for module, precision, kind in (
        (build("2nn", outputs=10, image_size=28, seed=0), FP32, DenseStep),
        (layers(3), FP32, DenseStep),
        (layers(3), Precision("bf16", "test"), AutogradStep),
        (build("mcmahan-cnn", outputs=10, image_size=28, seed=0), FP32, DenseStep),
        (build("densenet-tiny", outputs=10, image_size=32, seed=0), FP32, AutogradStep),
    ):
        flat = FlatModel(module, "cpu")
        step = step_for(flat, DigitTask(), optimizer_for(SGD, flat.parameters_flat), precision)
        assert type(step) is kind


def test_predicts_what_the_network_says():
    network = layers(5, 3)
    flat = FlatModel(network, "cpu")
    step = DenseStep(flat, DigitTask(), optimizer_for(SGD, flat.parameters_flat))
    images, _ = batch(4, 3)
    assert torch.equal(step.forward(images), network(images))
