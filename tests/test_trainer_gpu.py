"""The trainer on a GPU: close to the CPU; graphs and compiled networks close to plain steps; bf16
close to fp32; images resident or streamed alike.

Kernels are not the same everywhere (a graph's are timed and chosen, a last batch's are not, and a
GPU adds in no fixed order), so nothing here is compared bit by bit. Tolerances are far below what
another order of batches, another dropout mask or a batch too few would make of the numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.chexpert import read_tree
from bench.data.pack import pack
from bench.federation.clients import ClientStore
from bench.federation.engine import Federation
from bench.federation.strategies.contrast import Teachers
from bench.models.backbone import build
from bench.models.flat import FlatModel
from bench.observations import OBSERVATIONS
from bench.suites.choice import Choice
from bench.suites.scenario import Scenario
from bench.training.ahead import TRIES, ahead_for
from bench.training.device import Precision
from bench.training.execution import EAGER, Execution
from bench.training.tasks import task_for
from bench.training.trainer import Trainer
from tests.phantom_trees import write_small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = "cuda:0"
IMAGES, SIDE, BATCH = 90, 32, 16
"""Five whole batches and a last one of ten."""
EPOCHS = 6
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
LABELS = np.random.default_rng(1).choice([1, 0, -1, np.nan], (IMAGES, 14)).astype(np.float32)
SCENARIO = Scenario(
    observations=OBSERVATIONS,
    label_policy=tuple((name, "u-ignore") for name in OBSERVATIONS),
    backbone="resnet10t",
    image_size=SIDE,
    augment="flip+shift",
    optimizer=Choice("sgd", (("lr", 0.01), ("momentum", 0.9))),
)
GRAPH = Execution(graph=True, compiled=False, reason="test")
BOTH = Execution(graph=True, compiled=True, reason="test")
CLOSE = {"rtol": 2e-3, "atol": 2e-4}


class Net(nn.Module):
    """Batch normalisation, dropout, and what a test wants to happen in between."""

    def __init__(
        self, dropout: float = 0.0, between: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.point = nn.Conv2d(8, 16, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(dropout)
        self.classifier = nn.Linear(16, 14)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv(x)))
        x = torch.relu(self.norm2(self.point(x))).mean((2, 3))
        if self.between is not None:
            x = self.between(x)
        return self.classifier(self.drop(x))


def small(dropout: float = 0.0, between: Callable[[Tensor], Tensor] | None = None) -> nn.Module:
    torch.manual_seed(5)
    return Net(dropout, between)


def trainer_on(
    device: str,
    execution: Execution = EAGER,
    *,
    precision: str = "fp32",
    network: nn.Module | None = None,
    images: np.ndarray = PIXELS,
    labels: np.ndarray = LABELS,
    norm: str = "batch",
    seed: int = 0,
) -> Trainer:
    side = images.shape[1]
    if network is None:
        network = build("resnet10t", outputs=14, image_size=side, norm=norm, seed=seed)  # type: ignore[arg-type]
    task = task_for(SCENARIO)
    flat = FlatModel(network, device)
    targets = task.targets(labels, 0)
    chosen = Precision(precision, "test")
    return Trainer(SCENARIO, flat, task, images, targets, flat.device, chosen, execution)


def run(trainer: Trainer, *, rows: int = IMAGES, at=(0, 1, 0), batch_size=BATCH, **more) -> float:
    more.setdefault("epochs", 2)
    result = trainer.train(np.arange(rows), batch_size=batch_size, seed_address=at, **more)
    return result.loss


def assert_close(mine: Trainer, plain: Trainer) -> None:
    torch.testing.assert_close(mine.flat.parameters_flat, plain.flat.parameters_flat, **CLOSE)
    torch.testing.assert_close(mine.flat.buffers_flat, plain.flat.buffers_flat, **CLOSE)
    assert torch.equal(mine.flat.counters_flat, plain.flat.counters_flat)


def assert_executed(trainer: Trainer, wanted: Execution) -> None:
    assert trainer.execution == wanted, trainer.execution.reason


def trained(device: str, precision: str = "fp32") -> tuple[float, np.ndarray]:
    trainer = trainer_on(device, precision=precision, norm="group")
    return run(trainer), trainer.predict(PIXELS)


def test_a_gpu_trains_as_a_cpu_does():
    loss, scores = trained(DEVICE)
    expected, cpu_scores = trained("cpu")
    assert loss == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(scores, cpu_scores, atol=0.01)


def test_bf16_trains_nearly_as_fp32_does():
    assert trained(DEVICE, "bf16")[0] == pytest.approx(trained(DEVICE)[0], rel=0.02)


def test_streamed_images_are_the_resident_ones(monkeypatch):
    loss, scores = trained(DEVICE)
    monkeypatch.setattr("bench.training.images.RESIDENT_SHARE", 0.0)
    monkeypatch.setattr("bench.training.images.CHUNK_PIXELS", {"cuda": 20 * SIDE * SIDE})
    streamed, streamed_scores = trained(DEVICE)
    assert streamed == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(streamed_scores, scores, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_graph_trains_as_plain_steps_do(precision):
    """Whole batches and the last one; statistics are not disturbed by warming up."""
    mine, plain = (trainer_on(DEVICE, e, precision=precision) for e in (GRAPH, EAGER))
    losses = run(mine), run(plain)
    assert_executed(mine, GRAPH)
    if precision == "fp32":
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert_close(mine, plain)
    else:
        assert losses[0] == pytest.approx(losses[1], rel=0.01)
    np.testing.assert_allclose(mine.predict(PIXELS), plain.predict(PIXELS), atol=0.02)


@pytest.mark.parametrize("shrink", [0, 2], ids=["equal", "unequal"])
@pytest.mark.parametrize("backbone", ["2nn", "mcmahan-cnn"])
def test_clients_trained_at_once_become_what_each_becomes_alone(backbone, shrink, tmp_path):
    """Two federations of eight clients, whose last batches are smaller: one is told of none."""
    scenario = Scenario(
        dataset="mnist",
        backbone=backbone,
        image_size=28,
        clients=8,
        batch_size=10,
        optimizer=Choice("sgd", (("lr", 0.05), ("momentum", 0.9))),
    )
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (8 * 25, 28, 28)).astype(np.uint8)
    labels = rng.integers(0, 10, 8 * 25).astype(np.float32)
    rows = [np.arange(k * 25, (k + 1) * 25 - shrink * k) for k in range(8)]
    models = []
    for several in (True, False):
        task = task_for(scenario)
        network = build(backbone, outputs=10, image_size=28, seed=0)
        flat = FlatModel(network, DEVICE)
        ahead = ahead_for(flat, task, scenario.optimizer, None, GRAPH) if several else None
        targets, precision = task.targets(labels, 0), Precision("fp32", "test")
        trainer = Trainer(
            scenario, flat, task, images, targets, flat.device, precision, GRAPH, ahead
        )
        federation = Federation(scenario, trainer, rows, ClientStore(tmp_path / str(several)))
        for number in range(1, 2 * TRIES + 4):
            federation.round(number)
        models.append(federation.parameters.cpu())
        assert ("8 at once take" in trainer.execution.reason) == several
    torch.testing.assert_close(*models, **CLOSE)


def test_a_single_captured_batch_leaves_one_updates_statistics():
    mine, plain = (trainer_on(DEVICE, e) for e in (GRAPH, EAGER))
    for trainer in (mine, plain):
        run(trainer, rows=BATCH, epochs=1)
    assert_executed(mine, GRAPH)
    assert_close(mine, plain)
    assert mine.flat.counters_flat.unique().tolist() == [1]


def test_a_graph_draws_dropout_anew_by_the_address():
    addresses = [(0, 1, 0), (0, 1, 0), (0, 1, 1)]
    losses = [run(trainer_on(DEVICE, GRAPH, network=small(0.5)), at=at) for at in addresses]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-4)
    mine, plain = (trainer_on(DEVICE, e, network=small(0.5)) for e in (GRAPH, EAGER))
    for trainer in (mine, plain):
        run(trainer)
    assert_close(mine, plain)


def test_replays_draw_different_masks():
    """The same images with a learning rate of zero: only dropout can tell the losses apart."""
    trainer = trainer_on(DEVICE, GRAPH, network=small(0.5))
    trainer.optimizer.lr = 0.0
    losses = [run(trainer, rows=BATCH, epochs=1, at=(0, 1, client)) for client in range(3)]
    assert len(set(losses)) == 3
    again = run(trainer, rows=BATCH, epochs=1, at=(0, 1, 1))
    assert again == pytest.approx(losses[1], rel=1e-5)


def test_one_graph_serves_clients_strategies_and_learning_rates():
    mine, plain = (trainer_on(DEVICE, e) for e in (GRAPH, EAGER))
    for trainer in (mine, plain):
        start, statistics = trainer.flat.parameters_flat.clone(), trainer.flat.buffers_flat.clone()
        for client in range(3):
            trainer.flat.parameters_flat.copy_(start)  # what each client is sent
            trainer.flat.buffers_flat.copy_(statistics)
            run(trainer, rows=40 + 20 * client, at=(0, 1, client), epochs=1)
        assert not torch.equal(trainer.flat.parameters_flat, start)

        def proximal(parameters, gradients, start=start):
            gradients.add_(parameters - start, alpha=0.5)

        run(trainer, at=(0, 2, 0), hook=proximal)
        trainer.optimizer.lr = 0.0  # as a survey of gradients does
        run(trainer, at=(0, 2, 1), epochs=1)
        trainer.optimizer.lr = 0.02
        trainer.recalibrate(np.arange(32), batch_size=BATCH)
        run(trainer, at=(0, 3, 0), epochs=1)
    assert_executed(mine, GRAPH)
    assert_close(mine, plain)


def test_several_batch_sizes_take_turns():
    mine, plain = (trainer_on(DEVICE, e) for e in (GRAPH, EAGER))
    for number, size in enumerate((16, 8, 16, 32, 8)):
        for trainer in (mine, plain):
            run(trainer, batch_size=size, at=(0, number, 0), epochs=1)
        assert_executed(mine, GRAPH)
    assert_close(mine, plain)


def test_sizes_that_recur_have_a_graph_too():
    """Clients smaller than a batch, and whole clients as one batch."""
    mine, plain = (trainer_on(DEVICE, e) for e in (GRAPH, EAGER))
    for number in range(6):
        for trainer in (mine, plain):
            run(trainer, rows=11, at=(0, number, 0), epochs=1)
            run(trainer, rows=40, at=(0, number, 1), epochs=1, batch_size=None)
    assert_executed(mine, GRAPH)
    assert_close(mine, plain)


def test_training_goes_on_in_another_trainer_as_it_would_have_in_this():
    whole = trainer_on(DEVICE, GRAPH)
    run(whole, at=(0, 1, 0))
    kept = [t.clone() for t in (whole.flat.parameters_flat, whole.flat.buffers_flat)]
    state = {name: t.clone() for name, t in whole.optimizer.state.items()}
    run(whole, at=(0, 2, 0), optimizer_state=state)
    resumed = trainer_on(DEVICE, GRAPH)
    resumed.flat.parameters_flat.copy_(kept[0])
    resumed.flat.buffers_flat.copy_(kept[1])
    run(resumed, at=(0, 2, 0), optimizer_state=state)
    torch.testing.assert_close(whole.flat.parameters_flat, resumed.flat.parameters_flat, **CLOSE)


def test_streamed_images_feed_a_graph(monkeypatch):
    monkeypatch.setattr("bench.training.images.RESIDENT_SHARE", 0.0)
    monkeypatch.setattr("bench.training.images.CHUNK_PIXELS", {"cuda": 20 * SIDE * SIDE})
    mine, plain = (trainer_on(DEVICE, e) for e in (GRAPH, EAGER))
    assert not mine.images.resident
    for trainer in (mine, plain):
        run(trainer)
    assert_executed(mine, GRAPH)
    assert_close(mine, plain)


@pytest.mark.parametrize(
    ("between", "word"),
    [
        (lambda x: x * float(x.detach().abs().amax().clamp(1, 1)), "no graph"),  # waits
        (lambda x: x * torch.rand(1).add(1).to(x.device), "on the CPU"),
    ],
    ids=["waits for the device", "draws on the CPU"],
)
def test_what_cannot_be_captured_is_executed_plainly_and_the_process_goes_on(between, word):
    mine = trainer_on(DEVICE, GRAPH, network=small(0.5, between))
    plain = trainer_on(DEVICE, EAGER, network=small(0.5, between))
    for trainer in (mine, plain):
        run(trainer)
    assert mine.execution.name == "eager"
    assert word in mine.execution.reason
    assert_close(mine, plain)
    later = trainer_on(DEVICE, GRAPH, network=small(0.5))
    run(later)
    assert_executed(later, GRAPH)


def test_a_network_with_hooks_is_executed_plainly():
    trainer = trainer_on(DEVICE, GRAPH, network=small())
    teachers = (trainer.flat.parameters_flat.clone(), trainer.flat.parameters_flat + 0.1)
    with Teachers(trainer.flat, teachers, mu=1.0, temperature=0.5).watching():
        run(trainer)
    assert trainer.execution.name == "eager"
    assert "hooks" in trainer.execution.reason
    run(trainer)
    assert_executed(trainer, GRAPH)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_network_in_a_graph_trains_as_the_plain_one(precision, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    mine = trainer_on(DEVICE, BOTH, network=small(0.0), precision=precision)
    plain = trainer_on(DEVICE, EAGER, network=small(0.0), precision=precision)
    losses = run(mine), run(plain)
    assert_executed(mine, BOTH)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3 if precision == "fp32" else 0.01)
    if precision == "fp32":
        assert_close(mine, plain)


def test_a_compiled_network_draws_dropout_by_the_address(tmp_path, monkeypatch):
    """Other masks than the plain network's, but a function of seed, round and client."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    trainer = trainer_on(DEVICE, BOTH, network=small(0.5))
    trainer.optimizer.lr = 0.0
    losses = [run(trainer, rows=BATCH, epochs=1, at=(0, 1, c)) for c in (0, 1, 0)]
    assert_executed(trainer, BOTH)
    assert losses[0] != pytest.approx(losses[1], rel=1e-6)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)


def test_bf16_follows_fp32_within_the_noise_of_seeds(tmp_path):
    """Curves of the training loss on the phantom: precision changes less than the seed does."""
    curves = {p: training_curves(tmp_path, p, seeds=5) for p in ("fp32", "bf16")}
    for epoch in range(len(curves["fp32"][0])):
        exact, rounded = ([curve[epoch] for curve in curves[p]] for p in ("fp32", "bf16"))
        noise = statistics.stdev(exact)
        assert abs(statistics.mean(exact) - statistics.mean(rounded)) < noise, f"epoch {epoch + 1}"
    first, last = (statistics.mean(c[i] for c in curves["bf16"]) for i in (0, -1))
    assert last < 0.95 * first  # it learned


def training_curves(folder: Path, precision: str, *, seeds: int) -> list[list[float]]:
    """One list a seed: the mean training loss of each epoch, on 64-px films of 150 patients."""
    tree = folder / "phantom"
    if not tree.exists():
        write_small(tree, train_patients=150, valid_patients=2, test_patients=0, size=64)
    train = read_tree(tree).splits["train"]
    images = np.asarray(pack(train, size=64, cache=folder).images)
    return [training_curve(precision, seed, images, train.labels) for seed in range(seeds)]


def training_curve(
    precision: str, seed: int, images: np.ndarray, labels: np.ndarray
) -> list[float]:
    trainer = trainer_on(
        DEVICE, GRAPH, precision=precision, images=images, labels=labels, seed=seed
    )
    curve: list[float] = []
    state = None
    for epoch in range(1, EPOCHS + 1):
        result = trainer.train(
            np.arange(len(images)), epochs=1, batch_size=BATCH, optimizer_state=state,
            seed_address=(seed, epoch, 0),
        )  # fmt: skip
        state = result.optimizer_state
        curve.append(result.loss)
    return curve
