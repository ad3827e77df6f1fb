"""Whole batches that are replayed or compiled give what the plain step gives, and the rest is left.

On a CPU there is nothing to capture: the capture used here replays by doing the work again on the
same buffers, after it has disturbed the model as warming up does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from bench.models.flat import FlatModel
from bench.suites.choice import Choice
from bench.suites.scenario import Scenario
from bench.training import accelerated
from bench.training.accelerated import AcceleratedStep
from bench.training.compilation import compile_network
from bench.training.device import Precision
from bench.training.execution import EAGER, WORTH_PIXELS, Execution, resolve_execution
from bench.training.graphs import BatchGraph
from bench.training.step import copy_together
from bench.training.tasks import task_for
from bench.training.trainer import Trainer

SIDE, IMAGES = 8, 23
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
LABELS = RNG.choice([1.0, 0.0, -1.0, np.nan], (IMAGES, 2)).astype(np.float32)
FP32 = Precision("fp32", "test")
ADAM = Choice("adam", (("lr", 0.01),))
GRAPH = Execution(graph=True, compiled=False, reason="test")
COMPILED = Execution(graph=False, compiled=True, reason="test")
BOTH = Execution(graph=True, compiled=True, reason="test")


class Net(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(4)
        self.point = nn.Conv2d(4, 6, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(dropout)
        self.classifier = nn.Linear(6, 2)

    def forward(self, x):
        x = torch.relu(self.norm1(self.conv(x)))
        x = torch.relu(self.norm2(self.point(x))).mean((2, 3))
        return self.classifier(self.drop(x))


class FakeCapture:
    """Warms up, and replays by working again; counts both. Fails at the calls it is told to."""

    def __init__(self, *failing: int) -> None:
        self.captures = self.replays = 0
        self._failing = failing

    def __call__(self, work):
        self.captures += 1
        for _ in range(3):
            work()
        if self.captures in self._failing:
            raise RuntimeError("operation not permitted when stream is capturing\nin some kernel")
        work()

        def replay() -> None:
            self.replays += 1
            work()

        return replay


class FakeCompiler:
    """Calls the module itself, and counts for which batch sizes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sizes: list[int] = []
        self._error = error

    def __call__(self, module):
        if self._error is not None:
            raise self._error

        def network(inputs):
            self.sizes.append(len(inputs))
            return module(inputs)

        return network


def make(
    wanted: Execution = EAGER,
    capture: FakeCapture | None = None,
    compiler: FakeCompiler | None = None,
    net: nn.Module | None = None,
    **fields,
) -> Trainer:
    policy = fields.pop("policy", "u-ones")
    scenario = Scenario(
        observations=("Edema", "Fracture"),
        label_policy=(("Edema", policy), ("Fracture", policy)),
        **{"optimizer": ADAM, **fields},
    )
    task = task_for(scenario)
    network = net or Net()
    if policy == "u-multiclass":
        network.classifier = nn.Linear(6, 6)
    flat = FlatModel(network, "cpu")
    trainer = Trainer(scenario, flat, task, PIXELS, task.targets(LABELS, 0), "cpu", FP32)
    if wanted is not EAGER:
        trainer._step = AcceleratedStep(
            flat,
            task,
            trainer.optimizer,
            None,
            wanted=wanted,
            compiler=compiler or FakeCompiler(),
            capture=capture or FakeCapture(),
        )
    return trainer


def run(trainer: Trainer, rows=IMAGES, batch_size=5, at=(0, 1, 2), **more):
    more.setdefault("epochs", 2)
    return trainer.train(np.arange(rows), batch_size=batch_size, seed_address=at, **more)


def assert_same(mine: Trainer, plain: Trainer) -> None:
    for name in ("parameters_flat", "buffers_flat", "counters_flat"):
        assert torch.equal(getattr(mine.flat, name), getattr(plain.flat, name)), name


@pytest.mark.parametrize("wanted", [GRAPH, COMPILED, BOTH], ids=lambda e: e.name)
@pytest.mark.parametrize("policy", ["u-ones", "u-ignore", "u-multiclass"])
def test_gives_the_bits_of_the_plain_step(wanted, policy):
    capture, compiler = FakeCapture(), FakeCompiler()
    mine, plain = make(wanted, capture, compiler, policy=policy), make(policy=policy)
    assert run(mine).loss == run(plain).loss
    assert_same(mine, plain)
    whole = 2 * (IMAGES // 5)
    assert (capture.captures, capture.replays) == ((1, whole) if wanted.graph else (0, 0))
    assert set(compiler.sizes) == ({5} if wanted.compiled else set())
    assert mine.execution == wanted


def test_one_graph_serves_clients_strategies_and_learning_rates():
    capture = FakeCapture()
    mine, plain = make(GRAPH, capture), make()
    start, statistics = mine.flat.parameters_flat.clone(), mine.flat.buffers_flat.clone()
    for trainer in (mine, plain):
        run(trainer, at=(0, 1, 0))
        trainer.flat.parameters_flat.copy_(start).add_(0.01)  # what the next client is sent
        trainer.flat.buffers_flat.copy_(statistics)

        def proximal(parameters, gradients):
            gradients.add_(parameters - start, alpha=0.1)

        run(trainer, rows=17, at=(0, 1, 1), hook=proximal)
        trainer.optimizer.lr = 0.0
        run(trainer, at=(0, 1, 3))
        trainer.optimizer.lr = 0.02
        trainer.set_targets(1 - trainer.targets)
        run(trainer, at=(0, 2, 0))
    assert_same(mine, plain)
    assert capture.captures == 2  # whole batches, and those of three images, which came six times


def test_other_sizes_have_a_graph_once_they_recur(monkeypatch):
    monkeypatch.setattr(accelerated, "MOST_GRAPHS", 2)
    capture, compiler = FakeCapture(), FakeCompiler()
    mine, plain = make(BOTH, capture, compiler), make()
    captures = []
    for number, rows in enumerate((8, 9, 8, 9, 8, 9, 8, 9, 8, 7, 7, 7, 7, 9)):
        for trainer in (mine, plain):
            run(trainer, rows=rows, batch_size=None, epochs=1, at=(0, number, 0))
        captures.append(capture.captures)
    assert captures == [0, 0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2]  # and then there is no more room
    assert capture.replays == 4
    assert compiler.sizes == []
    assert mine.execution.name == "graph"
    assert_same(mine, plain)


def test_on_a_cpu_other_sizes_are_never_prepared():
    compiler = FakeCompiler()
    mine, plain = make(COMPILED, None, compiler), make()
    for number in range(6):
        for trainer in (mine, plain):
            run(trainer, rows=7, at=(0, number, 0))
    assert set(compiler.sizes) == {5}
    assert_same(mine, plain)


def test_dropout_draws_what_it_would_have_drawn():
    mine, plain = (make(wanted, net=Net(0.5)) for wanted in (BOTH, EAGER))
    assert run(mine).loss == run(plain).loss
    assert_same(mine, plain)


def test_evaluation_and_recalibration_in_between_are_the_modules_own():
    mine, plain = make(BOTH), make()
    for trainer in (mine, plain):
        run(trainer)
    np.testing.assert_array_equal(mine.predict(PIXELS), plain.predict(PIXELS))
    for trainer in (mine, plain):
        trainer.recalibrate(np.arange(20), batch_size=5)
        run(trainer, at=(0, 2, 2))
    assert_same(mine, plain)


def test_frozen_statistics_stay():
    mine, plain = make(BOTH, buffers="frozen"), make(buffers="frozen")
    assert run(mine).loss == run(plain).loss
    assert_same(mine, plain)


@pytest.mark.parametrize(("rows", "size"), [(4, 5), (6, 5), (23, None)])
def test_without_whole_batches_nothing_is_prepared(rows, size):
    capture, compiler = FakeCapture(), FakeCompiler()
    mine, plain = make(BOTH, capture, compiler), make()
    assert run(mine, rows=rows, batch_size=size).loss == run(plain, rows, size).loss
    assert (capture.captures, compiler.sizes) == (0, [])
    assert mine.execution.name == "eager"
    assert mine.execution.reason == "test; there was no whole batch of a fixed size"


def test_every_batch_size_has_its_graph_and_the_oldest_goes(monkeypatch):
    monkeypatch.setattr(accelerated, "MOST_GRAPHS", 2)
    capture = FakeCapture()
    mine, plain = make(GRAPH, capture), make()
    for size, captures in [(5, 1), (6, 2), (5, 2), (7, 3), (6, 3), (5, 4)]:
        run(mine, rows=20, batch_size=size, epochs=1)
        run(plain, rows=20, batch_size=size, epochs=1)
        assert capture.captures == captures
    assert_same(mine, plain)


def test_a_network_with_hooks_is_executed_plainly_and_only_while_it_has_them():
    capture = FakeCapture()
    mine, plain = make(GRAPH, capture), make()
    for trainer in (mine, plain):
        seen = []
        handle = trainer.flat.module.classifier.register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.append(len(inputs[0]))
        )
        run(trainer, epochs=1)
        assert seen == [5, 5, 5, 5, 3]
        handle.remove()
    assert capture.captures == 0
    assert mine.execution.reason == "test; the strategy hooks into the network"
    for trainer in (mine, plain):
        run(trainer)
    assert capture.captures == 1
    assert mine.execution == GRAPH
    assert_same(mine, plain)


def test_what_cannot_be_captured_is_executed_plainly_and_says_why():
    capture = FakeCapture(1)
    mine, plain = make(BOTH, capture), make()
    assert run(mine).loss == run(plain).loss
    assert_same(mine, plain)
    assert capture.captures == 1  # and is not tried again at every batch
    assert (mine.execution.name, mine.execution.reason) == (
        "compiled",
        "test; no graph: RuntimeError: operation not permitted when stream is capturing",
    )


def test_a_failed_capture_makes_the_other_graphs_again():
    capture = FakeCapture(2)
    mine, plain = make(GRAPH, capture), make()
    names = []
    for size in (5, 6, 5, 6):
        run(mine, rows=20, batch_size=size, epochs=1)
        run(plain, rows=20, batch_size=size, epochs=1)
        names.append(mine.execution.name)
    assert names == ["graph", "eager", "graph", "eager"]
    assert capture.captures == 3
    assert_same(mine, plain)


def test_what_cannot_be_compiled_is_captured_all_the_same():
    compiler = FakeCompiler(RuntimeError("no C++ compiler"))
    mine, plain = make(BOTH, compiler=compiler), make()
    assert run(mine).loss == run(plain).loss
    assert_same(mine, plain)
    assert mine.execution.name == "graph"
    assert mine.execution.reason == "test; not compiled: RuntimeError: no C++ compiler"


def test_nothing_is_imported_or_compiled_before_a_whole_batch():
    script = (
        "import sys, bench.training.trainer, bench.training.accelerated; "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_graph_reads_its_own_buffers():
    seen = []

    def gradients(inputs, targets):
        seen.append((inputs.data_ptr(), inputs.stride()))
        return (inputs.sum() * targets.sum()).detach()

    inputs = torch.zeros(2, 3, 3, 1).permute(0, 3, 1, 2)
    graph = BatchGraph.record(gradients, inputs, torch.ones(2), FakeCapture())
    assert graph(inputs + 1, torch.ones(2)).item() == 36
    assert graph(inputs + 2, torch.full((2,), 0.5)).item() == 36
    assert len(set(seen)) == 1
    assert seen[0][0] != inputs.data_ptr()
    assert seen[0][1] == inputs.stride()


def test_copies_of_whatever_strides():
    point = torch.zeros(3, 1, 1, 2).permute(0, 3, 1, 2)  # as the flat vector's: (2, 1, 2, 2)
    patch = torch.zeros(3, 2, 2, 2).permute(0, 3, 1, 2)
    given = [torch.arange(6.0).view(3, 2, 1, 1), torch.arange(24.0).view(3, 2, 2, 2)]
    assert given[0].stride() != point.stride()
    copy_together([point, patch], given)
    assert torch.equal(point, given[0])
    assert torch.equal(patch, given[1])


@pytest.mark.parametrize(
    ("asked", "device", "backbone", "images", "name"),
    [
        ("auto", "cpu", "densenet121", 10**9, "eager"),
        (True, "cpu", "2nn", 10, "compiled"),
        (False, "cuda", "densenet121", 10**9, "graph"),
        (True, "cuda", "2nn", 10, "compiled graph"),
        ("auto", "cuda", "densenet121", WORTH_PIXELS // 320**2, "graph"),
        ("auto", "cuda", "densenet121", WORTH_PIXELS // 320**2 + 1, "compiled graph"),
        ("auto", "cuda", "mcmahan-cnn", 10**9, "graph"),
    ],
)
def test_what_is_tried(monkeypatch, asked, device, backbone, images, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    found = resolve_execution(asked, torch.device(device), backbone, images=images, side=320)
    assert found.name == name
    assert found.reason.startswith("compile: ")


def test_auto_does_not_compile_without_triton(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    device = torch.device("cuda")
    found = resolve_execution("auto", device, "densenet121", images=10**9, side=320)
    assert (found.name, "triton" in found.reason) == ("graph", True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")
def test_a_compiled_network_trains_as_the_plain_one(tmp_path, monkeypatch):
    """With views of one flat vector as parameters, gradients and statistics, on real inductor."""
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    compilations = []

    def compiler(module):
        compilations.append(module)
        return compile_network(module)

    mine, plain = make(COMPILED, compiler=compiler), make()
    for number in range(2):
        results = [run(trainer, at=(0, number, 0)).loss for trainer in (mine, plain)]
        assert results[0] == pytest.approx(results[1], rel=1e-5)
    assert mine.execution.name == "compiled", mine.execution.reason
    torch.testing.assert_close(mine.flat.buffers_flat, plain.flat.buffers_flat)
    torch.testing.assert_close(
        mine.flat.parameters_flat, plain.flat.parameters_flat, atol=2e-4, rtol=0
    )
    assert len(compilations) == 1
    assert any((tmp_path / "inductor").iterdir())
    monkeypatch.setattr("bench.training.step.FEW_TENSORS", 0)  # gradients added into their views
    assert run(mine, at=(0, 9, 0)).loss == pytest.approx(run(plain, at=(0, 9, 0)).loss, rel=1e-4)
