"""The trainer on a GPU: close to the CPU, and the same whether images are resident or streamed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.observations import OBSERVATIONS
from bench.suites.choice import Choice
from bench.suites.scenario import Scenario
from bench.training.device import Precision
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

IMAGES, SIDE = 96, 32
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
LABELS = np.random.default_rng(1).integers(0, 2, (IMAGES, 14)).astype(np.float32)
SCENARIO = Scenario(
    observations=OBSERVATIONS,
    label_policy=tuple((name, "u-ignore") for name in OBSERVATIONS),
    backbone="resnet10t",
    image_size=SIDE,
    augment="flip+shift",
    optimizer=Choice("sgd", (("lr", 0.01), ("momentum", 0.9))),
)


def trained(device: str, precision: str = "fp32") -> tuple[float, np.ndarray]:
    task = task_for(SCENARIO)
    network = build("resnet10t", outputs=14, image_size=SIDE, norm="group", seed=0)
    flat = FlatModel(network, device)
    targets = task.targets(LABELS, 0)
    chosen = Precision(precision, "test")
    trainer = Trainer(SCENARIO, flat, task, PIXELS, targets, flat.device, chosen)
    result = trainer.train(np.arange(IMAGES), epochs=2, batch_size=16, seed_address=(0, 1, 0))
    return result.loss, trainer.predict(PIXELS)


def test_a_gpu_trains_as_a_cpu_does():
    loss, scores = trained("cuda:0")
    expected, cpu_scores = trained("cpu")
    assert loss == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(scores, cpu_scores, atol=0.01)


def test_bf16_trains_nearly_as_fp32_does():
    assert trained("cuda:0", "bf16")[0] == pytest.approx(trained("cuda:0")[0], rel=0.02)


def test_streamed_images_are_the_resident_ones(monkeypatch):
    loss, scores = trained("cuda:0")
    monkeypatch.setattr("bench.training.images.RESIDENT_SHARE", 0.0)
    monkeypatch.setattr("bench.training.images.CHUNK_PIXELS", {"cuda": 20 * SIDE * SIDE})
    streamed, streamed_scores = trained("cuda:0")
    assert streamed == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(streamed_scores, scores, atol=1e-3)
