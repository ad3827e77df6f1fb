"""The trainer against the fastest plain loop that can be written for the same work.

``pytest tests/benchmarks/test_training_speed.py --benchmark-only -n 0 -s`` prints the ratios. Loop
and trainer take turns in one process, so that what else the machine does falls on both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.models.pointwise import Pointwise, most_pixels, use_products
from bench.observations import OBSERVATIONS
from bench.suites.choice import Choice
from bench.suites.scenario import Scenario
from bench.training.dense import DenseStep
from bench.training.device import resolve_precision
from bench.training.step import AutogradStep
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

CPU = torch.device("cpu")
REPETITIONS = 7


def trainer_for(scenario: Scenario, images: np.ndarray, labels: np.ndarray) -> Trainer:
    task = task_for(scenario)
    network = build(scenario.backbone, outputs=task.outputs, image_size=scenario.image_size, seed=0)
    precision = resolve_precision(scenario.precision, CPU, scenario.backbone)
    flat = FlatModel(network, CPU)
    return Trainer(scenario, flat, task, images, task.targets(labels, 0), CPU, precision)


def side_by_side(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of each, taken in turns after a warm-up of both."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(REPETITIONS + 1):
        for name, work in (("ours", ours), ("plain", plain)):
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return statistics.median(seconds["ours"][1:]), statistics.median(seconds["plain"][1:])


def report(benchmark, name: str, examples: int, ours: float, plain: float) -> float:
    ratio = plain / ours
    benchmark.extra_info.update(
        images_per_second=examples / ours, plain=examples / plain, ratio=ratio
    )
    print(
        f"\n{name}: {examples / ours:.1f} images/s, plain loop {examples / plain:.1f}, "
        f"ratio {ratio:.3f}"
    )
    return ratio


@pytest.mark.parametrize(
    ("side", "precision", "own", "bar"),
    [
        (64, "auto", True, 0.95),
        (64, "auto", False, 1.0),
        (64, "fp32", False, 0.95),
        (32, "auto", False, 1.1),
        (32, "fp32", False, 1.0),
    ],
    ids=["64px", "64px-convolutions", "64px-fp32", "32px-convolutions", "32px-fp32"],
)
def test_densenet121(benchmark, process, side, precision, own, bar):
    """Against the network as bench builds it, and against one of convolutions only."""
    batch, examples = 16, 96
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (examples, side, side)).astype(np.uint8)
    labels = generator.integers(0, 2, (examples, 14)).astype(np.float32)
    scenario = Scenario(
        observations=OBSERVATIONS,
        label_policy=tuple((name, "u-ones") for name in OBSERVATIONS),
        image_size=side,
        precision=precision,
        optimizer=Choice("adam", (("lr", 1e-4),)),
    )
    trainer = trainer_for(scenario, images, labels)
    dtype = trainer.precision.autocast
    network = build("densenet121", outputs=14, image_size=side, seed=0)
    if not own:
        for module in network.modules():
            if isinstance(module, Pointwise):
                module.__class__ = nn.Conv2d
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels)

    def plain() -> None:
        for rows in torch.randperm(examples).split(batch):
            x = pixels[rows].float().div_(255).sub_(0.449).div_(0.226)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
                logits = network(x.unsqueeze(-1).permute(0, 3, 1, 2))
            F.binary_cross_entropy_with_logits(logits.float(), targets[rows]).backward()
            optimizer.step()

    def ours() -> None:
        rows = np.arange(examples)
        trainer.train(rows, epochs=1, batch_size=batch, seed_address=(0, 1, 0))

    seconds = side_by_side(ours, plain)
    other = "same network" if own else "convolutions"
    name = f"DenseNet121, {side} px, batch 16, {trainer.precision.name}, {other}"
    assert report(benchmark, name, examples, *seconds) >= bar
    benchmark.pedantic(ours, rounds=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("side", "bar"), [(1, 1.5), (4, 1.1), (10, 1.0), (40, 0.8)])
def test_a_pointwise_convolution(benchmark, process, side, bar, dtype):
    """Forward and backward of 512 channels to 128, sixteen images."""
    if 16 * side**2 > most_pixels(dtype):
        pytest.skip("on this processor that is convolved")
    layer = nn.Conv2d(512, 128, 1, bias=False).to(dtype)
    use_products(layer)
    given = torch.randn(16, 512, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    given.requires_grad_()
    above = torch.ones_like(layer(given))
    repetitions = max(1, 400 // side**2)

    def work(kind: type[nn.Conv2d]) -> None:
        layer.__class__ = kind
        for _ in range(repetitions):
            torch.autograd.grad(layer(given), (given, layer.weight), above)

    seconds = side_by_side(lambda: work(Pointwise), lambda: work(nn.Conv2d))
    name = f"1×1 convolution, {side}×{side}, {dtype}"
    assert report(benchmark, name, 16 * repetitions, *seconds) >= bar
    benchmark.pedantic(work, (Pointwise,), rounds=3)


@pytest.mark.parametrize(
    ("backbone", "batch", "bar"),
    [("2nn", 10, 1.8), ("mcmahan-cnn", 10, 1.1), ("mcmahan-cnn", 50, 1.0)],
)
def test_networks_of_mcmahan(benchmark, process, backbone, batch, bar):
    """600 images a client against the plain loop; ``bar`` times as fast."""
    examples = 600
    trainer = digits_trainer(backbone, examples)
    network = build(backbone, outputs=10, image_size=28, seed=0)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, fused=True)
    pixels = (trainer.images.gather(torch.arange(examples)).float() / 255)[..., None]
    pixels = pixels.permute(0, 3, 1, 2)

    def plain() -> None:
        for rows in torch.randperm(examples).split(batch):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(pixels[rows]), trainer.targets[rows]).backward()
            optimizer.step()

    def ours() -> None:
        rows = np.arange(examples)
        trainer.train(rows, epochs=1, batch_size=batch, seed_address=(0, 1, 0))

    seconds = side_by_side(ours, plain)
    assert report(benchmark, f"{backbone}, batch {batch}", examples, *seconds) >= bar
    benchmark.pedantic(ours, rounds=3)


def digits_trainer(backbone: str, examples: int, optimizer: str = "sgd") -> Trainer:
    images = np.random.default_rng(0).integers(0, 256, (examples, 28, 28)).astype(np.uint8)
    labels = (np.arange(examples) % 10).astype(np.float32)
    scenario = Scenario(
        dataset="mnist",
        backbone=backbone,
        image_size=28,
        optimizer=Choice(optimizer, (("lr", 0.05),)),
    )
    return trainer_for(scenario, images, labels)


@pytest.mark.parametrize(
    ("backbone", "optimizer", "bar"),
    [("2nn", "sgd", 1.6), ("2nn", "adam", 1.1), ("mcmahan-cnn", "sgd", 1.05)],
)
def test_written_out_step_against_autograds(benchmark, process, backbone, optimizer, bar):
    trainers = [digits_trainer(backbone, 100, optimizer) for _ in range(2)]
    dense, other = trainers
    assert isinstance(dense._step, DenseStep)
    other._step = AutogradStep(other.flat, other.task, other.optimizer, None)

    def work(trainer: Trainer) -> Callable[[], None]:
        def train() -> None:
            rows = np.arange(100)
            trainer.train(rows, epochs=2, batch_size=10, seed_address=(0, 1, 0))

        return train

    seconds = side_by_side(work(dense), work(other))
    assert report(benchmark, f"{backbone}, {optimizer}, batch 10", 200, *seconds) >= bar
    benchmark.pedantic(work(dense), rounds=5)


def test_a_client_of_ten_images(benchmark, process):
    """Its training takes less than three times its one step."""
    trainer = digits_trainer("2nn", 100)
    rows = np.arange(10)

    def client() -> None:
        trainer.train(rows, epochs=1, batch_size=10, seed_address=(0, 1, 0))

    inputs = torch.rand(10, 28, 28, 1).permute(0, 3, 1, 2)

    def step() -> None:
        trainer._step(inputs, trainer.targets[:10])

    ours, alone = side_by_side(repeated(client), repeated(step))
    print(f"\na client of ten images: {ours / 100 * 1e6:.0f} µs, its step {alone / 100 * 1e6:.0f}")
    assert ours <= 3 * alone
    benchmark(client)


def repeated(work: Callable[[], None]) -> Callable[[], None]:
    """A hundred times, so that a pause of the machine counts for little."""

    def many() -> None:
        for _ in range(100):
            work()

    return many
